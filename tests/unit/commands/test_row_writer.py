"""Tables that are written by columns have the bytes of those that are written by rows."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from volsvc.commands.row_writer import write_columns, write_rows
from volsvc.domain import format_time
from volsvc.sources.recordings.tables import row_formats
from volsvc.sources.recordings.tables.columns import Coded
from volsvc.sources.recordings.tables.csv_text import TextColumn, Times

ROWS = 1_000
NAMES = ("ts", "symbol", "price", "n")


def some_columns(seed: int) -> list[TextColumn]:
    rng = np.random.default_rng(seed)
    return [
        Times(1_767_571_200 * 10**9 + rng.integers(0, 10**12, ROWS)),
        Coded(["BTC-USD", "ETH-USD", 'a "pair", odd'], rng.integers(0, 3, ROWS)),
        np.exp(rng.normal(-6, 4, ROWS)),
        rng.integers(-5, 10**9, ROWS),
    ]


def between(column: TextColumn, first: int, end: int) -> TextColumn:
    if isinstance(column, Coded):
        return Coded(column.values, column.codes[first:end])
    return Times(column.times_ns[first:end]) if isinstance(column, Times) else column[first:end]


def values_of(column: TextColumn) -> list[Any]:
    if isinstance(column, Coded):
        return column.by_row()
    if isinstance(column, Times):
        return list(map(format_time, column.times_ns.tolist()))
    listed: list[Any] = column.tolist()
    return listed


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.csv.zst", "t.ndjson", "t.parquet"])
def test_columns_give_the_bytes_of_rows(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In every format, wherever parts end."""
    monkeypatch.setattr(row_formats, "PARQUET_ROWS", 300)
    columns = some_columns(1)
    cuts = np.random.default_rng(2).choice(np.arange(1, ROWS), 7, replace=False)
    ends = pairwise([0, *np.sort(cuts).tolist(), ROWS])
    parts = ([between(column, *part) for column in columns] for part in ends)
    write_columns(tmp_path / name, NAMES, parts)
    rows = zip(*map(values_of, columns), strict=True)
    (tmp_path / "rows").mkdir()
    write_rows(tmp_path / "rows" / name, NAMES, rows)
    assert (tmp_path / name).read_bytes() == (tmp_path / "rows" / name).read_bytes()
