"""Columns of names, times and numbers as the text of a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from volsvc.sources.kernels import cells
from volsvc.sources.recordings.tables.columns import Coded


class Times(NamedTuple):
    """A column of times in ns since the epoch, which are written in RFC 3339."""

    times_ns: NDArray[np.int64]


TextColumn = Coded[str] | Times | NDArray[np.float64] | NDArray[np.int64]


def csv_text(columns: Sequence[TextColumn]) -> str:
    """Return the lines of columns in CSV, equal to those of the module `csv`."""
    written = list(map(_cells_of, columns))
    count = len(written[0].values)
    rows = np.empty((count, sum(one.width for one in written)), np.uint8)
    ends = np.zeros(count, np.int64)
    for one, mark in zip(written, b"," * (len(columns) - 1) + b"\n", strict=True):
        one.add(rows, ends, mark, one.values, *one.names)
    text = np.empty(int(ends.sum()), np.uint8)
    cells.pack(rows, ends, text)
    return text.tobytes().decode()


class _Cells(NamedTuple):
    """A column for a kernel that adds it to rows: most bytes of a cell, kernel, and arguments."""

    width: int
    add: Callable[..., None]
    values: NDArray[np.int64]
    names: Sequence[NDArray[Any]] = ()


def _cells_of(column: TextColumn) -> _Cells:
    if isinstance(column, Coded):
        texts = [_quoted(name).encode("utf-8", "replace") for name in column.values]
        lengths = np.array(list(map(len, texts)))
        width = int(lengths.max(initial=1))
        names = np.array(texts, f"S{width}").view(np.uint8).reshape(-1, width)
        return _Cells(width + 1, cells.add_names, column.codes, (names, lengths))
    if isinstance(column, Times):
        return _Cells(cells.TIME_WIDTH, cells.add_times, column.times_ns)
    values = np.ascontiguousarray(column).view(np.int64)
    if column.dtype == np.float64:
        return _Cells(cells.FLOAT_WIDTH, cells.add_floats, values)
    return _Cells(cells.INTEGER_WIDTH, cells.add_integers, values)


def _quoted(name: str) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([name])
    return line.getvalue()
