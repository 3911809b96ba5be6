"""Reading recordings: rows to ticks, compared with one row at a time and with the parsing alone."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pyarrow import csv as arrow_csv
from pyarrow import parquet

from tests.benchmarks.figures import Results, Row, at_least, rates
from tests.benchmarks.market import COLUMNS, PER_S, SYMBOLS, recorded_rows
from tests.benchmarks.rounds import Bench, turns
from volsvc.commands.row_writer import write_rows
from volsvc.domain import tick_from_fields, tick_from_record
from volsvc.sources.recordings.recording import Recording
from volsvc.sources.recordings.tables.options import RowOptions

# Ticks of the files for each tick of the other parts: reading is fast.
TIMES = 10


def measure(bench: Bench) -> Results:
    """Measure files of each format in turns with their references."""
    per_symbol = bench.sizes.ticks * TIMES // SYMBOLS
    rows = recorded_rows(SYMBOLS, per_symbol, PER_S)
    files = {name: bench.folder / f"t.{name}" for name in ("csv", "parquet", "ndjson")}
    for path in files.values():
        write_rows(path, COLUMNS, iter(rows))
    compared: dict[str, tuple[Callable[[Path], int], Callable[[Path], Any] | None]] = {
        "csv": (_csv_by_row, arrow_csv.read_csv),
        "parquet": (_parquet_by_row, parquet.read_table),
        "ndjson": (_lines_by_row, None),
    }
    found: list[Row] = []
    for name, (by_row, parse) in compared.items():
        path, count = files[name], len(rows)
        assert _ticks(path) == by_row(path) == count, "a benchmark of different work"
        took, rowwise, *parsing = turns(
            bench.sizes.rounds,
            *(lambda work=work, path=path: work(path) for work in (_ticks, by_row)),
            *([lambda parse=parse, path=path: parse(path)] if parse else []),
        )
        what, ours = f"reading {name} to ticks", rates("volsvc", "ticks/s", count, took)
        slow = rates("a row at a time", "ticks/s", count, rowwise)
        # Lines of JSON are read one by one by us too.
        target = at_least(5.0) if parse else at_least(0.7)
        found.append(Row(what, ours, slow, target))
        found += [Row(what, ours, rates("Arrow alone", "ticks/s", count, one)) for one in parsing]
    return Results(found)


def _ticks(path: Path) -> int:
    recording = Recording([path], RowOptions())
    return sum(len(rows) for rows in recording.rows())


def _of_fields(rows: Iterable[Mapping[str, Any]], source: str) -> int:
    return sum(tick_from_fields(row, None, source).price > 0 for row in rows)


def _csv_by_row(path: Path) -> int:
    with path.open(newline="") as file:
        return _of_fields(csv.DictReader(file), "csv")


def _parquet_by_row(path: Path) -> int:
    batches = parquet.ParquetFile(path).iter_batches()
    return sum(_of_fields(batch.to_pylist(), "parquet") for batch in batches)


def _lines_by_row(path: Path) -> int:
    with path.open() as file:
        return sum(tick_from_record(json.loads(line)).price > 0 for line in file)
