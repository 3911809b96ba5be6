"""`volsvc export`: the past of a real daemon as a file, while it runs and afterwards."""

from __future__ import annotations

import csv
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests import stored
from tests.daemon import RunningDaemon, command, eventually, running
from tests.unit.store.past import SYMBOL, keep, made
from volsvc.store.history import FIELDS


async def all_rows(daemon: RunningDaemon, path: str) -> list[dict[str, Any]]:
    """Return the rows of a symbol over HTTP."""
    page = await daemon.get(path)
    assert page["next"] is None
    rows: list[dict[str, Any]] = page["rows"]
    return rows


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


async def export(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run the command; return exit code and standard error."""
    code, out, err = await command("export", *arguments, cwd=folder)
    assert out == ""
    return code, err


async def test_the_past_of_a_replay(recording: Path, tmp_path: Path) -> None:
    """Files have the rows of the answers, and those after the stop are the same to the byte."""
    arguments = ("--symbol", "BTC-USD", "--out")
    async with running("--path", str(recording), "--speed", "max", cwd=tmp_path) as daemon:

        async def written() -> bool:
            return len((await daemon.get("/history/BTC-USD?step=1m")).get("rows", ())) >= 19

        await eventually(written, 60, "the minutes are in the store")
        minutes = await all_rows(daemon, "/history/BTC-USD?step=1m")
        outcomes = await all_rows(daemon, "/outcomes/BTC-USD?limit=10000")
        live = (await daemon.get("/history/BTC-USD?limit=1000"))["outcomes"]
        assert await export(tmp_path, *arguments, "live.ndjson") == (0, "")
        assert await daemon.stop() == 0
    assert lines(tmp_path / "live.ndjson") == minutes
    assert tuple(minutes[0]) == FIELDS
    assert minutes[0]["partial"]
    assert minutes[3]["realised_300s"] is not None
    for name in ("again.ndjson", "again.csv", "again.parquet"):
        assert await export(tmp_path, *arguments, name) == (0, "")
    assert (tmp_path / "again.ndjson").read_bytes() == (tmp_path / "live.ndjson").read_bytes()
    with (tmp_path / "again.csv").open() as file:
        assert [row["close"] for row in csv.DictReader(file)] == [
            str(row["close"]) for row in minutes
        ]
    from pyarrow import parquet

    table = parquet.read_table(tmp_path / "again.parquet")
    assert table.column("time").to_pylist() == [row["time"] for row in minutes]
    assert str(table.schema.field("realised_3600s").type) == "double"
    assert await export(tmp_path, *arguments, "o.ndjson", "--what", "outcomes") == (0, "")
    assert lines(tmp_path / "o.ndjson") == outcomes
    # The daemon scored the same forecasts, of which it remembers the newest.
    scored = {(row["issued"], row["horizon_s"], row["model_variant"]) for row in outcomes}
    assert {(row["issued"], row["horizon_s"], row["model_variant"]) for row in live} <= scored
    assert {row["horizon_s"] for row in live} == {60.0, 300.0}


async def test_a_part_of_the_past(tmp_path: Path) -> None:
    """Dates and times choose minutes; long pasts are written in parts."""
    keep(tmp_path / "var" / stored.FILE, made(range(22_000)))
    chosen = ("--start", "2026-01-06", "--end", "2026-01-06T00:10:00Z")
    arguments = ("--symbol", SYMBOL, "--out")
    assert await export(tmp_path, *arguments, "some.csv", *chosen) == (0, "")
    with (tmp_path / "some.csv").open() as file:
        times = [row["time"] for row in csv.DictReader(file)]
    assert (times[0], len(times)) == ("2026-01-06T00:01:00.000Z", 10)
    assert await export(tmp_path, *arguments, "all.csv.gz") == (0, "")
    for what, least in (("history", 22_000), ("outcomes", 80_000)):
        assert await export(tmp_path, *arguments, "all.ndjson", "--what", what) == (0, "")
        assert len((tmp_path / "all.ndjson").read_text().splitlines()) >= least


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--symbol", "X", "--out", "x.csv"), 2, f"has no 'X', but '{SYMBOL}'"),
        (("--symbol", SYMBOL, "--out", "x.csv"), 2, "--feed: name one of those"),
        (("--symbol", SYMBOL, "--out", "x.csv", "--feed", "c"), 2, "no 'c', but 'a', 'b'"),
        (("--symbol", SYMBOL, "--out", "x.txt", "--feed", "a"), 1, "extension"),
        (("--symbol", SYMBOL, "--out", "x.csv", "--start", "soon"), 2, "--start"),
        (
            ("--symbol", SYMBOL, "--out", "x.csv", "--feed", "b", "--start", "2027-01-01"),
            1,
            "no row",
        ),
    ],
)
async def test_faults(arguments: tuple[str, ...], code: int, words: str, tmp_path: Path) -> None:
    """An error is one line that says what there is, and nothing is written."""
    for feed in ("b", "a"):
        keep(tmp_path / "var" / stored.FILE, made(range(3)), feed=feed)
    found, err = await export(tmp_path, *arguments)
    assert (found, len(err.splitlines())) == (code, 1), err
    assert words in err
    assert not list(tmp_path.glob("x.*"))
    assert await export(tmp_path, "--symbol", SYMBOL, "--out", "x.csv", "--feed", "a") == (0, "")


async def test_files_that_are_no_store(tmp_path: Path) -> None:
    """A file that is missing, or of another program, is named."""
    code, err = await export(tmp_path, "--symbol", "A", "--out", "x.csv")
    assert (code, "there is no store" in err) == (1, True)
    (tmp_path / "var").mkdir()
    with closing(sqlite3.connect(tmp_path / "var" / stored.FILE)) as connection:
        connection.execute("CREATE TABLE t (x)")
    code, err = await export(tmp_path, "--symbol", "A", "--out", "x.csv")
    assert (code, "of another program" in err) == (1, True)
    (tmp_path / "var" / stored.FILE).write_bytes(b"no database" * 1_000)
    code, err = await export(tmp_path, "--symbol", "A", "--out", "x.csv")
    assert (code, "not a database" in err) == (1, True)
