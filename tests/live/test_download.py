"""Tests of downloads: complete, without repeats, and equal to the byte after a resume."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from tests.daemon import command, eventually, launch
from tests.live.feed import START_NS, trades
from tests.reading import bars_in
from volsvc.domain import NS, Tick, format_time, parse_time
from volsvc.simulator import Fault, Script, Simulator, Steps

SYMBOLS = ("BTC-USD", "ETH-USD")
STEPS = 8_000
START, END = (format_time(START_NS + s * NS) for s in (60, 1_860))
BOTH = ",".join(SYMBOLS)


def history() -> list[Tick]:
    return [tick for symbol in SYMBOLS for tick in trades(STEPS, 2, symbol)]


def venue(ticks: Sequence[Tick], *faults: Fault) -> Simulator:
    """Return an exchange with these trades in the past, and none to come."""
    script = Script(fault=faults)
    return Simulator(Steps([], script.batch_ms, ticks), script)


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with venue(history()) as running:
        yield running


def arguments_of(simulator: Simulator, out: str, kind: str, symbols: str = BOTH) -> tuple[str, ...]:
    span = ("--start", START, "--end", END, "--symbols", symbols)
    return ("download", *span, "--kind", kind, "--out", out, "--rest-url", simulator.rest_url)


FAST = {"VOLSVC_SOURCE__REST_PER_S": "1000"}


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


async def test_trades(simulator: Simulator, tmp_path: Path) -> None:
    """The output has every trade from start, inclusive, to end, exclusive, merged by time."""
    code, out, err = await command(
        *arguments_of(simulator, "t.csv", "trades"), env=FAST, cwd=tmp_path
    )
    assert (code, out) == (0, ""), err
    assert "done" in err
    rows = rows_of(tmp_path / "t.csv")
    inside = [t for t in history() if START <= format_time(t.time_ns) < END]
    assert len(rows) == len(inside) == 2 * 2 * 4 * 1_800
    for symbol in SYMBOLS:
        ids = [int(row["trade_id"]) for row in rows if row["symbol"] == symbol]
        assert ids == [tick.trade_id for tick in inside if tick.symbol == symbol]
    assert all(one["time"] <= other["time"] for one, other in pairwise(rows))
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


async def test_candles(simulator: Simulator, tmp_path: Path) -> None:
    """The output has a bar for every minute of every symbol, and `volsvc train` can read it."""
    code, _, err = await command(
        *arguments_of(simulator, "c.csv", "candles"), env=FAST, cwd=tmp_path
    )
    assert code == 0, err
    assert [path.name for path in tmp_path.iterdir()] == ["c.csv"]
    rows = rows_of(tmp_path / "c.csv")
    assert list(rows[0]) == ["symbol", "ts", "open", "high", "low", "close", "volume"]
    # The start is not a whole minute, so the first bar is that of the next minute.
    assert len(rows) == 2 * 30
    assert START <= rows[0]["ts"] < rows[-1]["ts"] < END
    for symbol, bars in bars_in(tmp_path / "c.csv").items():
        assert len(bars) == 30
        ticks = trades(STEPS, 2, symbol)
        first = [tick.price for tick in ticks if tick.time_ns // (60 * NS) == bars[0].minute]
        assert (bars[0].close, bars[0].high) == (first[-1], max(first))


async def test_times_with_and_without_fractions(tmp_path: Path) -> None:
    """Symbols are merged by time, whatever the number of its decimals."""
    rows = {"BTC-USD": [60.123456, 61.0], "ETH-USD": [60.123, 60.1235]}
    ticks = [
        Tick(symbol, START_NS + _ns(second), 1.0, size=1.0, trade_id=number)
        for symbol, seconds in rows.items()
        for number, second in enumerate(seconds, 1)
    ]
    async with venue(ticks) as simulator:
        code, _, err = await command(
            *arguments_of(simulator, "t.csv", "trades"), env=FAST, cwd=tmp_path
        )
    assert code == 0, err
    times = [parse_time(row["time"]) for row in rows_of(tmp_path / "t.csv")]
    assert times == sorted(tick.time_ns for tick in ticks)


def _ns(seconds: float) -> int:
    return round(seconds * 1e6) * 1_000


@pytest.mark.parametrize(
    "name",
    ["t.parquet", *(pytest.param(n, marks=pytest.mark.long) for n in ("t.csv", "t.ndjson.gz"))],
)
async def test_resumed(name: str, simulator: Simulator, tmp_path: Path) -> None:
    """A download that is killed and resumed gives the bytes of an undisturbed one."""
    whole = tmp_path / f"whole-{name}"
    arguments = arguments_of(simulator, whole.name, "trades")
    assert (await command(*arguments, env=FAST, cwd=tmp_path))[0] == 0
    slow = {"VOLSVC_SOURCE__REST_PER_S": "60"}
    arguments = arguments_of(simulator, name, "trades")
    for symbol in SYMBOLS:
        part = tmp_path / f".{name}.{symbol}.trades.part"
        process = await launch(*arguments, env=slow, cwd=tmp_path)

        async def under_way(part: Path = part) -> bool:
            return part.exists() and len(part.read_bytes().splitlines()) > 3

        await eventually(under_way, 20, "some pages", every_s=0.005)
        process.kill()
        await asyncio.wait_for(process.communicate(), 10)
        assert not (tmp_path / name).exists()
        # As if the kill had cut off the last page.
        part.write_bytes(part.read_bytes()[:-100])
    code, _, err = await command(*arguments, env=FAST, cwd=tmp_path)
    assert code == 0, err
    assert (tmp_path / name).read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, whole.name])


async def test_busy_venue(tmp_path: Path) -> None:
    """After a 429 the download waits for Retry-After; the result is the same."""
    ticks = trades(STEPS)
    async with venue(ticks, Fault(kind="rest_429", at=0, count=3, seconds=1)) as simulator:
        started = asyncio.get_running_loop().time()
        arguments = arguments_of(simulator, "t.csv", "trades", "BTC-USD")
        code, _, err = await command(*arguments, env=FAST, cwd=tmp_path)
        assert code == 0, err
        assert asyncio.get_running_loop().time() - started > 3
    assert len(rows_of(tmp_path / "t.csv")) == 2 * 4 * 1_800


async def test_another_download_of_the_same_name(simulator: Simulator, tmp_path: Path) -> None:
    """An unfinished download is not mixed with another one."""
    (tmp_path / ".t.csv.BTC-USD.trades.part").write_text('["trades","BTC-USD",1,2]\n')
    arguments = arguments_of(simulator, "t.csv", "trades", "BTC-USD")
    code, _, err = await command(*arguments, env=FAST, cwd=tmp_path)
    assert code == 1
    assert "belongs to another download; remove it" in err


@pytest.mark.parametrize(
    ("changes", "code", "fault"),
    [
        ({"--start": "soon"}, 2, "--start: 'soon'"),
        ({"--end": START}, 2, "--end"),
        ({"--end": "2099-01-01T00:00:00Z"}, 2, "--end"),
        ({"--symbols": "a b"}, 2, "'a b'"),
        ({"--out": "none/t.csv"}, 1, "no folder none"),
        ({"--out": "t.xls"}, 1, "extension"),
        ({"--rest-url": "ftp://x"}, 2, "source.rest_url"),
        ({"--kind": "orders"}, 2, "orders"),
    ],
    ids=range(8),
)
async def test_mistakes(changes: dict[str, str], code: int, fault: str, tmp_path: Path) -> None:
    """A mistake gives one line that names it, and no file."""
    options = {"--start": START, "--end": END, "--out": "t.csv", "--symbols": "BTC-USD"} | changes
    arguments = [part for option in options.items() for part in option]
    found, out, err = await command("download", *arguments, cwd=tmp_path)
    assert (found, out) == (code, "")
    (line,) = err.strip().splitlines()
    assert fault in line
    assert list(tmp_path.iterdir()) == []
