"""Tests that a live run and a replay of the same ticks agree to the last bit."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from prometheus_client import generate_latest

from tests.applied import rows_after
from tests.daemon import RunningDaemon, eventually, metric_sum, running
from tests.live.feed import START_NS, Feed, exchange, listening, settings
from tests.reading import ticks_in
from tests.recordings import TEN_MINUTES
from volsvc.config.settings import FeatureSettings, ReplaySettings, load_settings
from volsvc.daemon.daemon import Daemon
from volsvc.domain import FeatureRow, InvalidTickError, SourceRow, Tick
from volsvc.features import ClosedWindow, SymbolTable
from volsvc.simulator import Fault
from volsvc.sources.generator import Generator, GeneratorSpec
from volsvc.sources.recorder import Recorder, RotationLimits
from volsvc.sources.recordings.recording import Recording
from volsvc.sources.recordings.tables.options import RowOptions
from volsvc.sources.replay import FileSource

SYMBOLS = ("BTC-USD", "ETH-USD", "SOL-USD")
TICKS = 6_000


def generated() -> list[Tick]:
    spec = GeneratorSpec(SYMBOLS, 3, START_NS)
    return [made.tick for made in islice(Generator(spec).ticks(), TICKS)]


def as_trades(ticks: Sequence[Tick]) -> list[Tick]:
    """Return ticks as the channel of trades sends them: without quotes."""
    return [msgspec.structs.replace(t, best_bid=None, best_ask=None) for t in ticks]


def as_tickers(ticks: Sequence[Tick]) -> list[Tick]:
    """Return ticks as the channel of tickers sends them: with price and quotes only."""
    plain = {"size": None, "side": None, "trade_id": None, "sequence": None}
    return [msgspec.structs.replace(t, **plain) for t in ticks]


def replayed(ticks: Sequence[Tick]) -> tuple[list[FeatureRow], SymbolTable]:
    """Return the rows that the engine makes of ticks, and its state afterwards."""
    table, rows = SymbolTable(FeatureSettings()), []
    for tick in ticks:
        rows += rows_after(table, tick)
    return rows, table


def by_symbol(rows: Sequence[FeatureRow]) -> dict[str, list[FeatureRow]]:
    """Return the rows of each symbol.

    Between symbols the venue keeps no order within a quarter of a second.
    """
    symbols = sorted({row.symbol for row in rows})
    return {symbol: [row for row in rows if row.symbol == symbol] for symbol in symbols}


def assert_same(live: Feed, ticks: Sequence[Tick]) -> None:
    """Assert that rows, multi-scale features and the whole state of each symbol are equal."""
    rows, table = replayed(ticks)
    assert by_symbol(live.features) == by_symbol(rows)
    for symbol in {tick.symbol for tick in ticks}:
        assert live.table.get(symbol).quality() == table.get(symbol).quality()
        assert whole(live.table, symbol) == whole(table, symbol)


def whole(table: SymbolTable, symbol: str) -> tuple[bytes, bytes]:
    """Return the state of a symbol, and the features of all time scales at its newest tick."""
    row = table.row(symbol)
    (point,) = table.newest(np.array([row]))
    return table.stored(row), point.features.tobytes()


@pytest.mark.parametrize("most", [50, 1], ids=["one connection", "a connection each"])
@pytest.mark.parametrize("feed", ["trades", "ticker"])
async def test_generated_markets(feed: str, most: int) -> None:
    """Generated ticks agree on either channel, over one connection or several."""
    ticks = {"trades": as_trades, "ticker": as_tickers}[feed](generated())
    options = {"feed": feed, "symbols_per_connection": most}
    async with (
        exchange(ticks, wait_for=SYMBOLS) as simulator,
        listening(settings(simulator, **options), SYMBOLS) as live,
    ):
        await live.until(lambda: len(live.rows) == TICKS, "all ticks")
    assert_same(live, ticks)


@pytest.mark.parametrize("path", TEN_MINUTES)
async def test_recordings(path: Path) -> None:
    """Recordings of the venue's feeds pass through its protocol unchanged."""
    ticks = ticks_in(path, symbol="BTC-USD")
    feed = "ticker" if any(tick.best_bid for tick in ticks) else "trades"
    ticks = as_tickers(ticks) if feed == "ticker" else ticks
    symbols = sorted({tick.symbol for tick in ticks})
    async with (
        exchange(ticks, wait_for=symbols) as simulator,
        listening(settings(simulator, feed=feed), symbols) as live,
    ):
        await live.until(lambda: len(live.rows) == len(ticks), f"{len(ticks)} ticks")
    if feed == "trades":
        # The recording has no trade ids, so the exchange numbers them.
        ticks = [row.tick for row in live.rows]
    rows, _ = replayed(ticks)
    assert by_symbol(live.features) == by_symbol(rows)
    assert len(rows) >= 0.95 * len(set(ticks)) > 500


class _NoEvents:
    """Fails if a replay reports an invalid row."""

    def rejected(self, path: str, line: int, error: InvalidTickError) -> None:
        raise error

    def out_of_order(self, path: str, line: int, error: InvalidTickError) -> None:
        raise error

    def ended(self, path: str, rejected: int) -> None:
        assert not rejected

    def late(self, seconds: float) -> None:
        pass


@pytest.mark.parametrize("name", ["t.csv", "t.ndjson", "t.csv.gz", "t.ndjson.zst", "t.parquet"])
async def test_recorded_and_replayed(name: str, tmp_path: Path) -> None:
    """A recording holds the live ticks unchanged, with the time of their receipt."""
    ticks = as_trades(generated())[:2_000]
    async with (
        exchange(ticks, wait_for=SYMBOLS) as simulator,
        listening(settings(simulator), SYMBOLS) as live,
    ):
        await live.until(lambda: len(live.rows) == len(ticks), "all ticks")
    recorder = Recorder(tmp_path / name, RotationLimits())
    for start in range(0, len(live.rows), 300):
        recorder.write(live.rows[start : start + 300])
    recorder.close()
    recording = Recording([tmp_path / name], RowOptions())
    source = FileSource(recording, ReplaySettings(speed=math.inf), _NoEvents())
    again = list(source.ticks())
    assert_same(live, again)
    assert {tick.source for tick in again} <= {"csv", "ndjson", "parquet"}
    if name == "t.ndjson":
        first = json.loads((tmp_path / name).read_text().splitlines()[0])
        assert first["received_at"] > "2026-11"


# Faults that cost messages, but no trade in the end.
HARMLESS_FAULTS = tuple(
    Fault(kind=kind, at=60 * (place + 1), count=2, seconds=0)
    for place, kind in enumerate(
        ("skip", "duplicate", "reorder", "malformed", "sequence_reset", "snapshot", "disconnect")
    )
)


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param((), id="good venue", marks=pytest.mark.long),
        pytest.param(HARMLESS_FAULTS, id="bad venue"),
    ],
)
async def test_digests(
    faults: Sequence[Fault], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The digests of a live run and of its replay are equal, with and without faults."""
    monkeypatch.chdir(tmp_path)
    ticks = as_trades(generated())[:4_000]
    recorder = Recorder(tmp_path / "t.ndjson", RotationLimits())
    recorder.write([SourceRow(index, tick) for index, tick in enumerate(ticks)])
    recorder.close()
    async with exchange(ticks, *faults, wait_for=SYMBOLS) as simulator:
        live = settings(simulator, symbols=SYMBOLS).model_dump(exclude_unset=True)
        expected = await digests(len(ticks), {"source": live})
    replay = {"source": {"path": "t.ndjson"}, "replay": {"speed": "max"}}
    assert await digests(len(ticks), replay) == expected
    assert all(closed is not None for _, closed in expected.values())


async def digests(ticks: int, keys: dict[str, Any]) -> dict[str, tuple[bytes, ClosedWindow | None]]:
    """Return the digest of every symbol after a daemon has processed so many ticks.

    Beside it is the newest minute in it.
    """
    rest: dict[str, Any] = {"http": {"port": 0}, "model": {"import_packaged": False}}
    daemon = Daemon(load_settings(None, {**keys, **rest}))
    stop = asyncio.Event()
    run = asyncio.create_task(daemon.run(stop, lambda url: None))

    async def processed() -> bool:
        text = generate_latest(daemon.services.metrics.registry).decode()
        return metric_sum(text, "volsvc_ticks_total") == ticks

    await eventually(processed, 20, f"{ticks} ticks")
    stop.set()
    async with asyncio.timeout(60):
        await run
    table = daemon.services.table
    found = {}
    for symbol in SYMBOLS:
        row = table.row(symbol)
        digest = table.records["learnt"]["digest"][row]
        found[symbol] = digest.tobytes(), table.digest(row).closed
    return found


async def test_daemon_live_and_daemon_replaying(tmp_path: Path) -> None:
    """A daemon on the live feed and one on its recording give the same answers."""
    ticks = as_trades(generated())[:3_000]
    recorder = Recorder(tmp_path / "t.ndjson", RotationLimits())
    env = {"VOLSVC_FEATURES__HISTORY": "5000", "VOLSVC_HTTP__PORT": "0"}
    async with exchange(ticks, wait_for=SYMBOLS) as simulator:
        urls = ("--ws-url", simulator.ws_url, "--rest-url", simulator.rest_url)
        live = ("--source", "coinbase", "--symbols", ",".join(SYMBOLS), *urls)
        async with running(*live, env=env, cwd=tmp_path) as daemon:
            expected = await _answers(daemon, len(ticks))
            assert await daemon.metric('volsvc_ticks_total{source="coinbase"}') == len(ticks)
            assert await daemon.stop() == 0
    async with (
        exchange(ticks, wait_for=SYMBOLS) as simulator,
        listening(settings(simulator), SYMBOLS) as feed,
    ):
        await feed.until(lambda: len(feed.rows) == len(ticks), "all ticks")
    recorder.write(feed.rows)
    recorder.close()
    replay = ("--path", "t.ndjson", "--speed", "max")
    async with running(*replay, env=env, cwd=tmp_path) as daemon:
        assert await _answers(daemon, len(ticks)) == expected
        assert await daemon.stop() == 0


async def _answers(daemon: RunningDaemon, ticks: int) -> object:
    """Return a daemon's answers on all symbols, without fields that depend on the clock."""

    async def processed() -> bool:
        return await daemon.metric("volsvc_ticks_total") == ticks

    await eventually(processed, 20, f"{ticks} ticks")
    clock = {"ts", "age_s", "stale"}
    answers = []
    for symbol in SYMBOLS:
        latest = await daemon.get(f"/latest/{symbol}")
        answers.append({name: value for name, value in latest.items() if name not in clock})
        answers.append(await daemon.get(f"/history/{symbol}?limit=5000"))
    return answers
