"""Validators: answers that differ have different ETags, and 304 means that nothing differs."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from msgspec import structs

from tests.variations import FORECAST, SNAPSHOT, published_variations, variations
from tests.web.conftest import in_its_loop
from tests.web.serving import serving
from tests.web.test_fast_path import RawAnswer, RawClient, parts_of, request, talking
from volsvc.domain import NS, format_time
from volsvc.transport import Record
from volsvc.transport.codec import PublishedState, encode_features
from volsvc.transport.features_record import decode_snapshot
from volsvc.web.openapi.routes import ROUTES
from volsvc.web.routes import latest
from volsvc.web.routes.pages import StaticFiles

SYMBOL = SNAPSHOT.row.symbol
ONE, ALL = f"/latest/{SYMBOL}", "/latest"
SNAPSHOTS = {path: other for path, other in variations(SNAPSHOT) if path != "row.symbol"}
# Of one build, or read by a program that knows no caches.
UNCHANGING = ("/openapi.json", "/metrics")


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def settled(body: bytes) -> str:
    """Return the part of an answer that its ETag stands for: all but times and ages."""
    answer = json.loads(body)
    symbols = answer.get("symbols", [answer])
    kept = [{n: v for n, v in one.items() if n not in ("ts", "age_s")} for one in symbols]
    return json.dumps(kept)


class Watcher:
    """A client that keeps each answer of each path with its ETag."""

    def __init__(self, client: RawClient) -> None:
        self._client = client
        # By path: the settled bodies by tag.
        self.seen: dict[str, dict[str, str]] = {}

    async def look(self, path: str) -> str:
        """Ask for a path on every way, and return the settled answer."""
        plain, long_way = request("GET", path), request("GET", path, X_Request_ID="mine")
        answers = [await self._client.exchange(asked) for asked in (plain, long_way, plain)]
        for answer in answers:
            self._keep(path, answer)
        tag, body = tag_of(answers[-1]), settled(answers[-1].body)
        await self._ask_again(path, tag, body)
        return body

    def _keep(self, path: str, answer: RawAnswer) -> None:
        assert answer.status == 200
        body = settled(answer.body)
        assert self.seen.setdefault(path, {}).setdefault(tag_of(answer), body) == body

    async def _ask_again(self, path: str, tag: str, body: str) -> None:
        """Ask with the tags of all answers: those of other bodies must not be current."""
        others = [known for known, found in self.seen[path].items() if found != body]
        if others:
            asked = request("GET", path, If_None_Match=", ".join(others))
            for _ in range(2):
                answer = await self._client.exchange(asked)
                assert (answer.status, settled(answer.body)) == (200, body)
        answer = await self._client.exchange(request("GET", path, If_None_Match=tag))
        assert (answer.status, answer.body, tag_of(answer)) == (304, b"", tag)


def tag_of(answer: RawAnswer) -> str:
    return dict(answer.headers)["etag"]


async def test_every_field_has_a_tag_of_its_own(fast: Counter[str]) -> None:
    """Each field of a snapshot is in the answer; if it changes, so does the tag, on both paths."""
    async with talking() as (client, daemon):
        store, watcher = parts_of(daemon).latest_store, Watcher(client)
        for count, snapshot in enumerate([SNAPSHOT, *SNAPSHOTS.values()]):
            store.put(snapshot, time.time(), count)
            for path in (ONE, ALL):
                await watcher.look(path)
        assert fast["/latest/{symbol}"] > len(SNAPSHOTS)
    for path in (ONE, ALL):
        bodies = watcher.seen[path].values()
        assert len(set(bodies)) == len(bodies) == len(SNAPSHOTS) + 1


async def test_neither_tick_nor_time_of_processing_is_enough(fast: Counter[str]) -> None:
    """The next tick has another tag at the same instant, and so has the same tick made anew."""
    async with talking() as (client, daemon):
        store, watcher = parts_of(daemon).latest_store, Watcher(client)
        now_s = time.time()
        tick = SNAPSHOTS["row.time_ns"]
        anew = replace(tick, variant="baseline", quality=structs.replace(tick.quality, gaps=9))
        for offset, (snapshot, processed_s) in enumerate(
            [(SNAPSHOT, now_s), (tick, now_s), (anew, now_s + 1e-3), (SNAPSHOT, now_s + 2e-3)]
        ):
            store.put(snapshot, processed_s, offset)
            for path in (ONE, ALL):
                await watcher.look(path)
        assert len(watcher.seen[ONE]) == 4
        assert fast["/latest/{symbol}"] > 4


async def test_staleness_changes_the_tag_and_so_does_its_end(fast: Counter[str]) -> None:
    """A feed that falls silent, and one that comes back, changes answer and tag."""
    async with talking() as (client, daemon):
        services, watcher = parts_of(daemon), Watcher(client)
        services.latest_store.put(SNAPSHOT, time.time())
        for path in (ONE, ALL):
            fresh = await watcher.look(path)
            services.health.silent.add(SYMBOL)
            stale = await watcher.look(path)
            assert ('"stale": false' in fresh, '"stale": true' in stale) == (True, True)
            services.health.silent.clear()
            assert await watcher.look(path) == fresh
        assert fast["/latest/{symbol}"] > 2


class Clock:
    """The wall clock of the handlers."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def time(self) -> float:
        return self.now_s


async def test_age_alone_changes_the_tag(
    fast: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry that nothing touches gets another tag at the moment at which it becomes stale."""
    clock = Clock(2_000_000_000.0)
    monkeypatch.setattr(latest, "time", clock)
    async with talking(http={"stale_after_s": 60}) as (client, daemon):
        watcher = Watcher(client)
        parts_of(daemon).latest_store.put(SNAPSHOT, clock.now_s)
        for path in (ONE, ALL):
            for age_s, stale in ((0, False), (1, False), (60, False), (60.001, True), (1e6, True)):
                clock.now_s = 2_000_000_000 + age_s
                assert f'"stale": {json.dumps(stale)}' in await watcher.look(path), age_s
            assert len(watcher.seen[path]) == 2
        assert fast["/latest/{symbol}"] > 5


async def test_a_symbol_more_or_less_or_another_changes_the_tag_of_all() -> None:
    """The tag of all symbols covers which they are, at equal times too."""
    names = ("AAA", "BBB", "CCC")
    async with talking() as (client, daemon):
        store, watcher = parts_of(daemon).latest_store, Watcher(client)
        now_s = time.time()
        for wanted in ((), ("AAA",), ("BBB",), ("AAA", "BBB"), ("BBB", "CCC"), names, ("CCC",)):
            for name in names:
                store.drop(name)
            for name in wanted:
                row = SNAPSHOT.row._replace(symbol=name)
                store.put(replace(SNAPSHOT, row=row), now_s)
            await watcher.look(ALL)
        assert len(watcher.seen[ALL]) == 7


async def test_an_instance_that_follows_gives_the_answer_of_the_owner() -> None:
    """Behind one address, instances whose tags are equal give equal answers."""
    processed_ns = time.time_ns()
    state = PublishedState(0, 7, None, b"content")
    async with talking() as (client, daemon):
        store, watcher = parts_of(daemon).latest_store, Watcher(client)
        others = [other for _, other in published_variations() if other.row.symbol == SYMBOL]
        for forecast in (FORECAST, *others):
            sent = encode_features(forecast, state, format_time(processed_ns), "owner#1")
            remote = decode_snapshot(Record("ticks.features", 0, 0, sent.key, sent.value))
            store.put(forecast.snapshot(), processed_ns / NS, 7)
            owner = await watcher.look(ONE)
            store.put(remote.snapshot, remote.processed_ns / NS, 7)
            assert await watcher.look(ONE) == owner
            processed_ns += NS


async def test_an_answer_that_is_too_old_is_not_confirmed() -> None:
    """With `max_age`, a current tag of data that are too old gets 503 and not 304."""
    async with serving() as (client, daemon):
        parts_of(daemon).latest_store.put(SNAPSHOT, time.time() - 30)
        for path in (ONE, ALL):
            async with client.get(path) as response:
                headers = {"If-None-Match": response.headers["ETag"]}
            for max_age, status in (("10", 503), ("3600", 304)):
                asked = client.get(path, params={"max_age": max_age}, headers=headers)
                async with asked as response:
                    assert response.status == status


@in_its_loop
async def test_only_answers_with_a_tag_are_confirmed(service: aiohttp.ClientSession) -> None:
    """Routes whose answers change without a tag are not stored by caches, and never get 304."""
    names = {"symbol": "BTC-USD", "slug": "not-found", "name": "main.js"}
    for route in ROUTES:
        if route.method != "get" or route.response == "text/event-stream":
            continue
        path = route.path.format(**names).replace("docs/assets/main.js", "docs/assets/start.js")
        tagged = 304 in route.empty_responses
        async with service.get(path) as response:
            tag = response.headers.get("ETag", "")
            assert response.status == 200, path
            assert ("ETag" in response.headers) is tagged, path
            control = response.headers.get("Cache-Control")
        if path not in UNCHANGING:
            assert control == ("no-cache" if tagged else "no-store"), path
        current = ((tag, 304), ("*", 304)) if tagged else (("*", 200),)
        for given, status in (('"other"', 200), *current):
            async with service.get(path, headers={"If-None-Match": given}) as response:
                assert response.status == status, (path, given)


@in_its_loop
async def test_each_file_has_a_tag_of_its_own(service: aiohttp.ClientSession) -> None:
    """Only the tag of the same file gets 304, with gzip or without; no two files share one."""
    tags: dict[str, str] = {}
    files = StaticFiles()
    folders = {"/assets": files.page, "/docs/assets": files.docs}
    paths = [f"{prefix}/{name}" for prefix, folder in folders.items() for name in folder]
    for path in paths:
        for coding in ("identity", "gzip"):
            async with service.get(path, headers={"Accept-Encoding": coding}) as response:
                tag = response.headers["ETag"]
                assert tags.setdefault(path, tag) == tag
    assert len(set(tags.values())) == len(paths) > 5
    for path in paths:
        others = ", ".join(tag for name, tag in tags.items() if name != path)
        for given, status in ((tags[path], 304), (others, 200), (f"{others}, {tags[path]}", 304)):
            async with service.get(path, headers={"If-None-Match": given}) as response:
                assert (response.status, response.headers["ETag"]) == (status, tags[path]), path
                assert bool(await response.read()) is (status == 200)


def test_a_file_that_changes_has_another_tag(tmp_path: Path) -> None:
    """One byte of a file changes its tag; the same bytes have the same tag in every process."""
    kinds = (b"a" * 5_000, b"a" * 4_999 + b"b", b"b" + b"a" * 4_999, b"a" * 5_001, b"", b"a")
    tags = []
    for content in kinds:
        for folder in ("page", "docs"):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / "x.js").write_bytes(content)
        first, second = StaticFiles(tmp_path), StaticFiles(tmp_path)
        tags.append(first.page["x.js"].etag)
        assert tags[-1] == second.page["x.js"].etag == first.docs["x.js"].etag
    assert len(set(tags)) == len(kinds)
