"""Cells that kernels write are those of `csv`, `repr` and `format_time`."""

from __future__ import annotations

import csv
import io
import sys
from typing import Any

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from volsvc.domain import format_time
from volsvc.domain.times import LATEST_NS
from volsvc.sources.recordings.tables.columns import coded
from volsvc.sources.recordings.tables.csv_text import Times, csv_text

NAMES = st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=9)
INTEGERS = st.integers(-(2**63) + 1, 2**63 - 1)


def rows() -> st.SearchStrategy[list[tuple[Any, ...]]]:
    """Return rows of a name, a time, a float and an integer."""
    row = st.tuples(NAMES, st.integers(0, LATEST_NS), st.floats(), INTEGERS)
    return st.lists(row, min_size=1, max_size=9)


@given(rows())
@example([("\n", 0, 0.0, 0), ("", 1, 1.0, 1)])
def test_lines(found: list[tuple[Any, ...]]) -> None:
    """Lines are those of the module `csv`."""
    names, times, floats, integers = zip(*found, strict=True)
    expected = io.StringIO()
    texts = zip(names, map(format_time, times), floats, integers, strict=True)
    csv.writer(expected, lineterminator="\n").writerows(texts)
    columns = (coded(names), Times(np.array(times)), np.array(floats), np.array(integers))
    assert csv_text(columns) == expected.getvalue().encode("utf-8", "replace").decode()


@given(st.lists(st.floats(), min_size=1))
@example([0.0, -0.0, 5e-324, 1e-4, 9.999999999999999e-05, 1e16, 9999999999999998.0, 1e23])
@example([2.0**power for power in range(-1074, 1024)])
@example([float(f"1e{power}") for power in range(-323, 309)])
def test_floats(values: list[float]) -> None:
    """A float has the digits of `repr`: the fewest that give it back."""
    assert csv_text([np.array(values)]).split() == list(map(repr, values))


def test_floats_of_all_sizes() -> None:
    """So have floats with random bits, with prices' decimals, and with small squares."""
    rng = np.random.default_rng(3)
    most = np.array(sys.float_info.max).view(np.int64)
    values = np.concatenate(
        [
            rng.integers(1, most, 50_000).view(np.float64),
            np.round(rng.uniform(0, 1e5, 50_000), 2),
            rng.normal(0, 1e-4, 50_000) ** 2,
        ]
    )
    assert csv_text([values]).split() == list(map(repr, values.tolist()))
