"""Columns of names, times and numbers as the text of a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from volsvc.sources.kernels import cells
from volsvc.sources.recordings.tables.columns import Coded

# Rows whose bytes stay in the processor's cache until they are packed.
_BLOCK_ROWS: Final = 1_024


class Times(NamedTuple):
    """A column of times in ns since the epoch, which are written in RFC 3339."""

    times_ns: NDArray[np.int64]


TextColumn = Coded[str] | Times | NDArray[np.float64] | NDArray[np.int64]


def csv_text(columns: Sequence[TextColumn]) -> str:
    """Return the lines of columns in CSV, equal to those of the module `csv`."""
    written = list(map(_cells_of, columns))
    width = sum(one.width for one in written)
    marks = b"," * (len(columns) - 1) + b"\n"
    blocks = []
    for first in range(0, len(written[0].values), _BLOCK_ROWS):
        block = slice(first, first + _BLOCK_ROWS)
        ends = np.zeros(len(written[0].values[block]), np.int64)
        rows = np.empty((len(ends), width), np.uint8)
        for one, mark in zip(written, marks, strict=True):
            one.add(rows, ends, mark, one.values[block], *one.names)
        text = np.empty(int(ends.sum()), np.uint8)
        cells.pack(rows, ends, text)
        blocks.append(text.tobytes())
    return b"".join(blocks).decode()


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
    # Beside another cell, since an empty one alone is quoted; and a name with a line's end is.
    csv.writer(line, lineterminator="\n").writerow((name, ""))
    return line.getvalue()[:-2]
