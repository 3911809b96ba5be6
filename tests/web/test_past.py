"""The past from the store: minutes, steps, outcomes and the track record, in pages and formats."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from tests.daemon import eventually
from tests.unit.store.past import START, made
from tests.web.conftest import in_its_loop
from tests.web.serving import serving
from volsvc.domain import HORIZON_MINUTES, NS, format_time
from volsvc.scoring.scores import DAY_MINUTES
from volsvc.store.columns import rows_of
from volsvc.store.history import FIELDS, history
from volsvc.store.minute_rows import round_numbers
from volsvc.store.outcomes import outcomes
from volsvc.web.schemas.past import MinuteRow, OutcomeRow
from volsvc.web.tables import CSV, JSON, MEDIA_TYPES, NDJSON, PARQUET

Client = aiohttp.ClientSession
SYMBOL = "PAST-USD"
# A day and a half; the minutes of the recording of the daemon are of other symbols.
COUNT = 2_160
PAST = made([minute for minute in range(COUNT) if minute % 97], symbol=SYMBOL)
# As it is kept.
round_numbers(PAST.rows)
EVERYTHING = 2**31 - 1
pytestmark = in_its_loop


@pytest.fixture(scope="module")
async def keeping(minutes: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    """A client of a daemon that has kept the minutes of PAST."""
    given = {
        "source": {"kind": "replay", "path": str(minutes)},
        "replay": {"speed": "max"},
        "service": {"data_dir": str(tmp_path_factory.mktemp("var"))},
    }
    async with serving(given) as (client, daemon):
        store = daemon._parts.store
        assert store is not None
        store.keep_minutes(PAST)
        store.commit({})

        async def stored() -> bool:
            async with client.get(f"/history/{SYMBOL}?step=1m") as response:
                return response.status == 200

        await eventually(stored, 20, "the minutes are written")
        yield client


async def get(
    client: Client, path: str, accept: str = JSON, **query: Any
) -> tuple[int, Any, Mapping[str, str]]:
    """Return status, body and headers of an answer."""
    async with client.get(path, params=query, headers={"Accept": accept}) as response:
        body = await response.read()
        is_json = response.content_type.endswith("json") and response.content_type != NDJSON
        return response.status, json.loads(body) if is_json else body, response.headers


async def rows(client: Client, path: str, **query: Any) -> list[dict[str, Any]]:
    """Return all rows of a range, page by page."""
    found: list[dict[str, Any]] = []
    while True:
        status, page, headers = await get(client, path, **query)
        assert status == 200, page
        found += page["rows"]
        if page["next"] is None:
            assert "Link" not in headers
            return found
        query["start"] = page["next"]


@pytest.mark.parametrize("limit", [1, 1_000])
async def test_a_coded_answer_is_the_same(keeping: Client, limit: int) -> None:
    """A long answer is coded for those who accept it, and caches are told once for both."""
    parameters: dict[str, str | int] = {"start": at(0), "step": "1m", "limit": limit}
    answers = {}
    for coding in ("gzip", "identity"):
        headers = {"Accept-Encoding": coding}
        async with keeping.get(f"/history/{SYMBOL}", params=parameters, headers=headers) as found:
            answers[coding] = await found.read()
            is_coded = limit > 1 and coding == "gzip"
            assert found.headers.get("Content-Encoding") == ("gzip" if is_coded else None)
            varies = ["Accept", "Accept-Encoding"] if limit > 1 else ["Accept"]
            assert found.headers.getall("Vary") == varies
    assert answers["gzip"] == answers["identity"]


def of(columns: Any) -> list[dict[str, Any]]:
    """Return columns as the rows of an answer in JSON."""
    return [dict(zip(columns, row, strict=True)) for row in rows_of(columns)]


def at(minute: int) -> str:
    """Return the start of a minute after START."""
    return format_time((START + minute) * 60 * NS)


async def test_the_newest_day(keeping: Client) -> None:
    """Without start and end it is the newest day, with every field."""
    status, page, _ = await get(keeping, f"/history/{SYMBOL}", step="1m")
    assert status == 200
    assert (page["symbol"], page["step_s"], page["next"]) == (SYMBOL, 60, None)
    assert page["rows"] == [row for row in of(history(PAST, EVERYTHING)) if row["time"] > at(720)]
    assert list(MinuteRow.model_fields) == list(FIELDS) == list(page["rows"][0])


@pytest.mark.parametrize("step", [1, 5, 60, 1440])
async def test_pages_are_the_whole(keeping: Client, step: int) -> None:
    """Pages of any size have every row of the range once."""
    expected = of(history(PAST, EVERYTHING, step))
    for limit in (7, 1_000, 10_000):
        query = {"start": at(0), "step": f"{step}m", "limit": limit}
        if limit * step < 100 and step == 1:
            query["start"] = at(2_000)
        found = await rows(keeping, f"/history/{SYMBOL}", **query)
        assert found == [row for row in expected if row["time"] > str(query["start"])]


async def test_links_lead_on_in_each_format(keeping: Client) -> None:
    """The header Link leads through all pages, with the query of the first."""
    expected = of(history(PAST, EVERYTHING, 5, ("time", "close", "realised_3600s")))
    for media in MEDIA_TYPES:
        path = f"/history/{SYMBOL}?start={at(0)}&step=300&limit=100&fields=close,realised_3600s"
        found: list[dict[str, Any]] = []
        while path:
            async with keeping.get(URL(path), headers={"Accept": media}) as response:
                assert (response.status, response.content_type) == (200, media)
                assert "Accept" in response.headers.getall("Vary")
                found += _decoded(media, await response.read())
                link = response.links.get("next")
                path = str(link["url"]) if link else ""
        assert [row["time"] for row in found] == [row["time"] for row in expected]
        assert [float(row["close"]) for row in found] == [row["close"] for row in expected]
        realised = [row["realised_3600s"] for row in found]
        known = [row["realised_3600s"] for row in expected]
        assert [None if v in ("", None) or v != v else float(v) for v in realised] == known


def _decoded(media: str, body: bytes) -> list[dict[str, Any]]:
    if media == JSON:
        found: list[dict[str, Any]] = json.loads(body)["rows"]
    elif media == NDJSON:
        found = [json.loads(line) for line in body.splitlines()]
    elif media == CSV:
        found = list(csv.DictReader(io.StringIO(body.decode())))
    else:
        from pyarrow import parquet

        found = parquet.read_table(io.BytesIO(body)).to_pylist()
    return found


async def test_a_range_is_after_its_start_up_to_its_end(keeping: Client) -> None:
    """Rows after `start` up to `end`, in RFC 3339 or seconds, widened to whole steps."""
    within = at(10).replace("00.000Z", "59.5Z"), at(19).replace("00.000Z", "00.001Z")
    for start, end in ((at(10), at(20)), within):
        found = await rows(keeping, f"/history/{SYMBOL}", start=start, end=end, fields="n")
        assert [row["time"] for row in found] == [at(minute) for minute in range(11, 21)]
    seconds = (START + 10) * 60
    found = await rows(keeping, f"/history/{SYMBOL}", start=seconds, end=seconds + 600, step="1h")
    assert [(row["time"], row["minutes"]) for row in found] == [(at(60), 59)]
    assert await rows(keeping, f"/history/{SYMBOL}", start=at(COUNT)) == []
    assert await rows(keeping, f"/history/{SYMBOL}", end=at(0)) == []


async def test_limit_alone_asks_the_memory(keeping: Client) -> None:
    """Without a range the answer is the one from memory, whatever is accepted."""
    status, answer, _ = await get(keeping, "/history/BTC-USD", CSV, limit=3)
    assert status == 200
    assert list(answer) == ["symbol", "rows", "forecasts", "outcomes"]
    assert len(answer["rows"]) == 3


@pytest.mark.parametrize(
    ("query", "pointer", "words"),
    [
        ({"start": "yesterday"}, "#/start", "ISO 8601"),
        ({"end": "2026-01-05"}, "#/end", "day"),
        ({"start": at(9), "end": at(9)}, "#/end", "after start"),
        ({"step": "90"}, "#/step", "whole minutes"),
        ({"step": "0m"}, "#/step", "whole minutes"),
        ({"step": "1w"}, "#/step", "whole minutes"),
        ({"step": "8d"}, "#/step", "at most 7d"),
        ({"fields": "close,sigma_2"}, "#/fields", "'sigma_2'; known are time, open,"),
        ({"fields": ""}, "#/fields", "known are"),
        ({"step": "1m", "limit": "0"}, "#/limit", "from 1"),
    ],
)
async def test_faults_are_named(
    keeping: Client, query: dict[str, str], pointer: str, words: str
) -> None:
    """A parameter that is not valid gets 422 with what would be."""
    status, problem, _ = await get(keeping, f"/history/{SYMBOL}", **query)
    assert (status, problem["errors"][0]["pointer"]) == (422, pointer)
    assert words in problem["detail"]


async def test_what_is_not_offered_or_known(keeping: Client) -> None:
    """Another format gets 406; a symbol of which nothing is known gets 404 with similar ones."""
    status, problem, _ = await get(keeping, f"/history/{SYMBOL}", "text/html", step=60)
    assert (status, problem["type"]) == (406, "/problems/not-acceptable")
    assert PARQUET in problem["detail"]
    for path in ("/history/BTC-UDS?step=60", "/outcomes/BTC-UDS", "/track-record?symbol=BTC-UDS"):
        status, problem, _ = await get(keeping, path)
        assert (status, problem["type"]) == (404, "/problems/unknown-symbol")
        assert "did you mean BTC-USD" in problem["detail"]
    for path in ("/outcomes/%00", "/history/%F0%9F%98%80?step=1m"):
        async with keeping.get(URL(path, encoded=True)) as response:
            assert response.status == 404


async def test_outcomes(keeping: Client) -> None:
    """Matured forecasts come in pages, of all horizons or of one."""
    expected = of(outcomes(PAST, EVERYTHING)[0])
    found = await rows(keeping, f"/outcomes/{SYMBOL}", start=at(0), limit=2_000)
    assert found == expected
    assert list(OutcomeRow.model_fields) == list(found[0])
    for horizon in HORIZON_MINUTES:
        chosen = {"start": at(0), "horizon": f"{horizon}m", "limit": 300}
        part = await rows(keeping, f"/outcomes/{SYMBOL}", **chosen)
        assert part == [row for row in expected if row["horizon_s"] == horizon * 60.0]
    status, body, headers = await get(keeping, f"/outcomes/{SYMBOL}", CSV, start=at(0), limit=8)
    assert (status, len(body.splitlines())) == (200, 1 + 8)
    assert 'rel="next"' in headers["Link"]
    for query in ("horizon=2m", "horizon=x", "limit=7"):
        status, problem, _ = await get(keeping, f"/outcomes/{SYMBOL}?{query}")
        assert (status, problem["type"]) == (422, "/problems/validation-failed")


async def test_the_track_record(keeping: Client) -> None:
    """Days, totals and bins are those of the outcomes, and the best EWMA stands beside them."""
    expected = of(outcomes(PAST, EVERYTHING)[0])
    status, record, _ = await get(keeping, "/track-record", symbol=SYMBOL, days=2)
    assert status == 200
    assert (record["symbols"], record["days"]) == ([SYMBOL], 2)
    for part in record["horizons"]:
        own = [row for row in expected if row["horizon_s"] == part["horizon_s"]]
        ml = [row for row in own if row["model_variant"] == "ml"]
        total = part["total"]
        assert total["n"] == len(ml) == sum(day["n"] for day in part["days"])
        assert total["n"] == sum(one["n"] for one in part["reliability"])
        assert [day["day"] for day in part["days"]] == ["2026-01-05", "2026-01-06"]
        qlike = sum(row["qlike"] for row in ml) / len(ml)
        assert total["qlike"]["ml"] == {"n": len(ml), "mean": pytest.approx(qlike, rel=1e-4)}
        assert total["qlike"]["baseline"]["n"] == total["qlike"]["ewma"]["n"] == len(ml)
        assert total["coverage"] == pytest.approx(sum(r["covered"] for r in ml) / len(ml), rel=1e-5)
        # Variances here are independent of one another, so that the longest memory is the best.
        assert part["ewma_half_life_s"] == 60.0 * DAY_MINUTES
    _, hour, _ = await get(keeping, "/track-record", symbol=SYMBOL, days=2, horizon="1h")
    assert hour["horizons"] == record["horizons"][-1:]
    _, everything, _ = await get(keeping, "/track-record", days=3)
    assert everything["symbols"] == ["BTC-USD", "ETH-USD", SYMBOL]
    assert everything["horizons"][0]["total"]["n"] > record["horizons"][0]["total"]["n"]
    status, problem, _ = await get(keeping, "/track-record", days=366)
    assert (status, problem["errors"][0]["pointer"]) == (422, "#/days")
    assert "at most 250 for 3 symbols" in problem["detail"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "consumes no ticks"),
        ({"store": {"enabled": False}}, "store.enabled is false"),
        ({"service": {"data_dir": "file/var"}, "source": {"kind": "replay"}}, "nothing is"),
    ],
)
async def test_no_past(
    settings: dict[str, dict[str, Any]],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The routes say why nothing is kept, and what to change."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("no folder")
    async with serving(settings) as (client, _):
        for path in ("/history/A?step=1m", "/outcomes/A", "/track-record"):
            status, problem, _ = await get(client, path)
            assert (status, problem["type"]) == (404, "/problems/not-kept")
            assert words in problem["detail"]


async def test_a_store_that_cannot_be_read(
    minutes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damage of the file is 503 with its name, and nothing else fails."""
    monkeypatch.chdir(tmp_path)
    given = {"source": {"kind": "replay", "path": str(minutes)}}
    async with serving(given) as (client, _):
        (tmp_path / "var" / "volsvc.db").rename(tmp_path / "moved.db")
        for path in ("/history/A?step=1m", "/outcomes/A", "/track-record"):
            status, problem, _ = await get(client, path)
            assert (status, problem["type"]) == (503, "/problems/past-unreadable")
            assert "volsvc.db" in problem["detail"]
        assert (await get(client, "/health/live"))[0] == 200
