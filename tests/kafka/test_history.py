"""The past on a real broker: every instance that answers has all of it, whoever closed a minute."""

from __future__ import annotations

import json
import signal
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.app.test_events import outlive_the_daemon
from tests.daemon import RunningDaemon, command, eventually, running
from tests.kafka.broker import Broker
from tests.kafka.fleet import environment, of_instance, undisturbed
from tests.kafka.log import read_topic

PAGE = "limit=10000"
CONSUMER = ("--source", "none", "--roles", "consumer,api")
API = ("--source", "none", "--roles", "api")


async def past_of(daemon: RunningDaemon, symbols: Sequence[str]) -> dict[str, Any]:
    """Return all that an instance answers of the past."""
    found: dict[str, Any] = {}
    for symbol in symbols:
        for path in (f"/history/{symbol}?step=1m&{PAGE}", f"/outcomes/{symbol}?{PAGE}"):
            found[path] = await daemon.get(path)
    record = await daemon.get("/track-record?days=2")
    return {**found, "record": {name: record.get(name) for name in ("symbols", "horizons")}}


async def has_minutes(daemon: RunningDaemon, newest: Mapping[str, str], least: int) -> None:
    """Wait until an instance has so many minutes of every symbol."""

    async def done() -> bool:
        paths = [f"/history/{symbol}?step=1m&fields=n&{PAGE}" for symbol in newest]
        answers = [await daemon.get(path) for path in paths]
        return all(len(answer.get("rows", ())) >= least for answer in answers)

    await eventually(done, 60, f"{least} minutes of {', '.join(newest)}")


def caught_up_on(daemon: RunningDaemon) -> int:
    """Return the number of minutes that an instance read from the log when it began."""
    events = [json.loads(line) for line in daemon.log.splitlines()]
    (minutes,) = (one["minutes"] for one in events if one["event"] == "history_caught_up")
    assert isinstance(minutes, int)
    return minutes


async def test_all_instances_have_the_same_past(
    broker: Broker, recording: Path, tmp_path: Path
) -> None:
    """The past is that of an in-process daemon, on the owner, on others, and after a takeover."""
    _, newest = undisturbed(recording)
    symbols, name = list(newest), uuid.uuid4().hex[:8]
    env = environment(broker.bootstrap_servers, name)
    replay = ("--path", str(recording), "--speed", "max")
    async with running(*replay, cwd=tmp_path) as daemon:
        await has_minutes(daemon, newest, 19)
        expected = await past_of(daemon, symbols)
    assert len(expected[f"/outcomes/{symbols[0]}?{PAGE}"]["rows"]) > 30
    a, b, c = (of_instance(env, f"{name}-{one}") for one in "abc")
    async with running(*API, env=b, cwd=tmp_path) as api:
        async with running(*CONSUMER, env=a, cwd=tmp_path) as owner:
            code, _, err = await command("replay", *replay[1:], env=env, cwd=tmp_path)
            assert code == 0, err
            for instance in (owner, api):
                await has_minutes(instance, newest, 19)
                assert await past_of(instance, symbols) == expected
                started = (await instance.get("/events?kind=model"))["rows"]
                assert [row["fields"]["kind"] for row in started] == ["start"]
            await owner.stop(signal.SIGKILL)
        # Another with a folder of its own.
        async with running(*CONSUMER, env=c, cwd=tmp_path) as successor:
            await has_minutes(successor, newest, 19)
            assert await past_of(successor, symbols) == expected
            assert await successor.stop() == 0
        assert caught_up_on(successor) == 19 * len(symbols)
        assert await api.stop() == 0
    # The one that was killed has its own, and reads nothing twice.
    async with running(*API, env=a, cwd=tmp_path) as again:
        assert await past_of(again, symbols) == expected
        assert await again.stop() == 0
    assert caught_up_on(again) == 0
    out = tmp_path / "rows.ndjson"
    folder = {"VOLSVC_SERVICE__DATA_DIR": a["VOLSVC_SERVICE__DATA_DIR"]}
    arguments = ("--symbol", symbols[0], "--out", str(out))
    assert (await command("export", *arguments, env=folder, cwd=tmp_path))[0] == 0
    assert len(out.read_text().splitlines()) == 19


async def test_an_instance_that_keeps_nothing(
    broker: Broker, recording: Path, tmp_path: Path
) -> None:
    """With store.enabled = false it says so, writes no file, and publishes its minutes still."""
    name = uuid.uuid4().hex[:8]
    env = environment(broker.bootstrap_servers, name, VOLSVC_STORE__ENABLED="false")
    _, newest = undisturbed(recording)
    async with running("--path", str(recording), "--speed", "max", env=env, cwd=tmp_path) as daemon:
        for path in ("/history/BTC-USD?step=1m", "/outcomes/BTC-USD", "/track-record"):
            problem = await daemon.get(path)
            assert problem["type"] == "/problems/not-kept"
            assert "store.enabled is false" in problem["detail"]

        async def published() -> bool:
            records = await read_topic(broker.bootstrap_servers, f"{name}.minutes", 6)
            return sum(len(record.value["rows"]) for record in records) == 19 * len(newest)

        await eventually(published, 60, "every minute is in the log")
        assert await daemon.stop() == 0
    assert not list(tmp_path.glob("**/volsvc.db"))


async def test_events_outlive_the_owner(broker: Broker, tmp_path: Path) -> None:
    """Gaps of its partitions are told once by an instance, whatever a kill has repeated."""
    env = environment(broker.bootstrap_servers, uuid.uuid4().hex[:8])
    await outlive_the_daemon(tmp_path, env)
