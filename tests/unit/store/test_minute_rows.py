"""Rows of minutes as blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from tests.unit.store.kept import MINUTE, minutes, same_digits
from volsvc.store.minute_rows import MINUTE_ROW, pack, round_numbers, unpack


@given(hnp.arrays(MINUTE_ROW, st.integers(1, 40)))
def test_any_rows_come_back_to_the_bit(rows: NDArray[Any]) -> None:
    """NaN, infinities, and prices of any size included."""
    for name in ("open", "high", "low", "close"):
        rows[name] = np.abs(rows[name])
    assert unpack(pack(rows)).tobytes() == rows.tobytes()


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=40), st.integers(0, 8))
def test_decimal_prices_come_back(steps: list[int], decimals: int) -> None:
    """Prices are exact: a decimal number is the nearest double of it before and after."""
    rows = np.zeros(len(steps), MINUTE_ROW)
    prices = [float(f"{step}e-{decimals}") for step in steps]
    for name in ("open", "high", "low", "close"):
        rows[name] = prices
    round_numbers(rows)
    assert rows["close"].tolist() == prices
    assert unpack(pack(rows))["close"].tolist() == prices


def test_a_block_is_small() -> None:
    """Forecasts have four digits and prices all of theirs, in well under half of the bytes."""
    rows = minutes("A", MINUTE, 720).rows
    rows["close"] = np.round(70_000 + np.cumsum(np.random.default_rng(1).normal(0, 9, 720)), 2)
    for name in ("open", "high", "low"):
        rows[name] = rows["close"]
    given_rows = rows.copy()
    round_numbers(rows)
    assert same_digits(rows, given_rows)
    assert (rows["close"] == given_rows["close"]).all()
    assert len(pack(rows)) < 0.45 * rows.nbytes


@pytest.mark.parametrize("block", [b"", b"\0?", b"\0" + pack(minutes("A", 1, 3).rows)[1:-3]])
def test_what_is_no_block(block: bytes) -> None:
    """A torn block is an error, not other rows."""
    with pytest.raises(ValueError, match=r"rows|decompressing"):
        unpack(block)
