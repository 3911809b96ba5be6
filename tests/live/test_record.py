"""Tests of recordings: readable at any time, and never overwritten."""

from __future__ import annotations

import asyncio
import math
import random
import signal
import time
from pathlib import Path

import pytest

from tests.daemon import command, eventually, launch
from tests.full_disk import files_end_at
from tests.live.feed import SYMBOL, exchange, trades
from tests.reading import parsed
from volsvc.domain import SourceError, SourceRow, Tick
from volsvc.simulator import Simulator
from volsvc.sources.recorder import Recorder, RotationLimits

FORMATS = ("t.csv", "t.ndjson", "t.csv.gz", "t.ndjson.gz", "t.csv.zst", "t.ndjson.zst")
ROWS = [SourceRow(i, tick, tick.time_ns + 5) for i, tick in enumerate(trades(60, 2))]


def written(path: Path, rows: list[SourceRow]) -> list[Tick]:
    """Record rows in several batches, and return the ticks of the recording."""
    recorder = Recorder(path, RotationLimits())
    for start in range(0, len(rows), 17):
        recorder.write(rows[start : start + 17])
    recorder.close()
    return good_ticks(path)


def good_ticks(path: Path) -> list[Tick]:
    """Return the ticks of a file, of which only the last row may be invalid."""
    rows = parsed(path)
    assert all(isinstance(row, Tick) for row in rows[:-1])
    return [row for row in rows if isinstance(row, Tick)]


@pytest.mark.parametrize("name", FORMATS)
def test_a_full_disk_takes_whole_batches(name: str, tmp_path: Path) -> None:
    """A batch that the disk refuses leaves nothing behind, and the next one is whole again."""
    path = tmp_path / name
    recorder = Recorder(path, RotationLimits())
    recorder.write(ROWS[:20])
    before = path.read_bytes()
    with files_end_at(len(before) + 30), pytest.raises(SourceError, match="File too large"):
        recorder.write(ROWS[20:40])
    assert path.read_bytes() == before
    recorder.write(ROWS[40:])
    recorder.close()
    assert good_ticks(path) == parsed(path)
    assert len(good_ticks(path)) == len(ROWS) - 20


@pytest.mark.parametrize("name", FORMATS)
def test_cut_anywhere(name: str, tmp_path: Path) -> None:
    """A file that is cut at any byte gives the ticks up to there, and none that is wrong."""
    whole = written(tmp_path / name, ROWS)
    assert len(whole) == len(ROWS)
    data = (tmp_path / name).read_bytes()
    cut_path = tmp_path / f"cut-{name}"
    cuts = random.Random(7).sample(range(len(data)), min(len(data), 400))
    for cut in cuts:
        cut_path.write_bytes(data[:cut])
        try:
            found = good_ticks(cut_path)
        except SourceError:
            # The header of a CSV is incomplete.
            assert cut < 100
            continue
        assert found == whole[: len(found)], cut
        assert len(found) > cut / len(data) * len(whole) - 20


@pytest.mark.parametrize(
    "name",
    [
        *("t.ndjson.zst", "t.parquet"),
        *(pytest.param(n, marks=pytest.mark.long) for n in ("t.csv", "t.ndjson.gz")),
    ],
)
async def test_killed_at_a_random_time(name: str, tmp_path: Path) -> None:
    """`record` killed with -9 leaves a file that can be replayed, without a gap."""
    async with exchange(trades(100_000, 4), speed=100) as simulator:
        process = await launch("record", *_to(simulator), "--out", name, cwd=tmp_path)

        async def recorded() -> bool:
            path = tmp_path / name
            return path.exists() and path.stat().st_size > 0 and bool(good_ticks(path))

        await eventually(recorded, 20, "the first rows", every_s=0.2)
        await asyncio.sleep(random.uniform(0, 1.2))
        process.kill()
        await asyncio.wait_for(process.communicate(), 10)
    ids = [tick.trade_id for tick in good_ticks(tmp_path / name)]
    assert ids == list(range(1_000, 1_000 + len(ids)))
    code, _, err = await command("features", name, "--out", "f.csv", cwd=tmp_path)
    assert code == 0, err


def _to(simulator: Simulator) -> tuple[str, ...]:
    urls = ("--ws-url", simulator.ws_url, "--rest-url", simulator.rest_url)
    return ("--symbols", SYMBOL, *urls)


async def test_stopped_by_a_signal(tmp_path: Path) -> None:
    """SIGTERM ends `record` with code 0; the file has every tick, and progress was shown."""
    ticks = trades(50, 2)
    async with exchange(ticks) as simulator:
        process = await launch("record", *_to(simulator), "--out", "t.ndjson", cwd=tmp_path)

        async def recorded() -> bool:
            path = tmp_path / "t.ndjson"
            return path.exists() and len(path.read_bytes().splitlines()) == len(ticks)

        await eventually(recorded, 20, "all rows")
        process.send_signal(signal.SIGTERM)
        out, err = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 0
    assert out == b""
    assert b"recording to t.ndjson: 100 rows" in err


async def test_for_some_minutes(tmp_path: Path) -> None:
    """`--minutes` ends a recording."""
    async with exchange(trades(100_000), speed=20) as simulator:
        arguments = ("--out", "t.csv", "--minutes", "0.03")
        code, _, err = await command("record", *_to(simulator), *arguments, cwd=tmp_path)
    assert code == 0, err
    assert good_ticks(tmp_path / "t.csv")


def test_rotation_by_size(tmp_path: Path) -> None:
    """Numbered files can be replayed one by one; together they have every tick."""
    recorder = Recorder(tmp_path / "t.csv.gz", RotationLimits(max_bytes=800))
    for row in ROWS:
        recorder.write([row])
    recorder.close()
    assert len(recorder.files) > 5
    assert [path.name for path in recorder.files[:2]] == ["t-0001.csv.gz", "t-0002.csv.gz"]
    ticks = [tick for path in recorder.files for tick in good_ticks(path)]
    assert [tick.trade_id for tick in ticks] == [row.tick.trade_id for row in ROWS]
    again = Recorder(tmp_path / "t.csv.gz", RotationLimits(max_bytes=800))
    assert again.files[0].name == f"t-{len(recorder.files) + 1:04d}.csv.gz"
    again.close()


def test_rotation_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new file is started at the given age."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    recorder = Recorder(tmp_path / "t.ndjson", RotationLimits(max_s=60))
    for row in ROWS[:6]:
        recorder.write([row])
        now[0] += 25
    recorder.close()
    assert [len(good_ticks(path)) for path in recorder.files] == [3, 3]


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_nothing_is_overwritten(name: str, tmp_path: Path) -> None:
    """An existing file or a missing folder is an error that names it."""
    (tmp_path / name).write_text("mine")
    with pytest.raises(SourceError, match="already exists"):
        Recorder(tmp_path / name, RotationLimits())
    assert (tmp_path / name).read_text() == "mine"
    with pytest.raises(SourceError, match="no folder"):
        Recorder(tmp_path / "none" / name, RotationLimits())


def test_numbers_keep_every_bit(tmp_path: Path) -> None:
    """Prices, sizes and nanoseconds are read back unchanged from every format."""
    odd = [SourceRow(0, Tick("A-B", 1_790_000_000_123_456_789, math.pi * 1e-7, 0.1 + 0.2, 1e9), 1)]
    for name in (*FORMATS, "t.parquet"):
        (tick,) = written(tmp_path / name, odd)
        assert tick.time_ns == odd[0].tick.time_ns
        assert (tick.price, tick.best_bid, tick.best_ask) == (math.pi * 1e-7, 0.1 + 0.2, 1e9)
