"""Records of bars: what is written is read, and nothing that is not valid."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from volsvc.domain import InvalidTickError
from volsvc.domain.minute_bars import BarSeries, PastBars
from volsvc.transport import Record
from volsvc.transport.bars_record import MOST_BARS, decode_bars, encode_bars, has_bars
from volsvc.transport.codec import MAX_RECORD_BYTES

ROW = [29_000_000, 1.5, 2.5, 0.5, 1.25, 3.0]
VALID = {"symbol": "A-USD", "source": "venue", "bars": [ROW], "type": "bars", "v": 1}


def record(value: Any, key: bytes = b"A-USD") -> Record:
    return Record("ticks", 0, 0, key, msgspec.json.encode(value))


@pytest.mark.parametrize("count", [1, MOST_BARS, MOST_BARS + 1, 3 * MOST_BARS])
def test_bars_are_read_as_they_were_written(count: int) -> None:
    """Records hold all bars in order, each of a size that any broker takes."""
    rng = np.random.default_rng(count)
    prices = np.sort(np.exp(rng.normal(size=(count, 4))), axis=1)
    # Open, high, low and close.
    values = np.column_stack((prices[:, [1, 3, 0, 2]], rng.exponential(size=count)))
    minutes = 29_000_000 + np.cumsum(rng.integers(1, 9, count))
    encoded = list(
        encode_bars(PastBars("A-USD", "file", BarSeries(minutes, values)), (("a", b"1"),))
    )
    assert all(len(one.value or b"") < MAX_RECORD_BYTES // 4 for one in encoded)
    records = [Record("ticks", 0, number, *one[:3]) for number, one in enumerate(encoded)]
    assert all(has_bars(one) and ("a", b"1") in one.headers for one in records)
    parts = [decode_bars(one) for one in records]
    assert {(part.symbol, part.source) for part in parts} == {("A-USD", "file")}
    np.testing.assert_array_equal(np.concatenate([part.bars.minutes for part in parts]), minutes)
    np.testing.assert_array_equal(np.concatenate([part.bars.values for part in parts]), values)


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"symbol": "no symbol"},
        {"symbol": "B-USD"},
        {"source": "hearsay"},
        {"bars": []},
        {"bars": [ROW] * (MOST_BARS + 1)},
        {"bars": [ROW, ROW]},
        {"bars": [[-1, *ROW[1:]]]},
        {"bars": [[2**62, *ROW[1:]]]},
        {"bars": [[*ROW[:1], 0.0, *ROW[2:]]]},
        {"bars": [[*ROW[:2], 1e300, *ROW[3:]]]},
        {"bars": [[*ROW[:2], 1.0, *ROW[3:]]]},
        {"bars": [[*ROW[:3], 1.4, *ROW[4:]]]},
        {"bars": [[*ROW[:5], -1.0]]},
        {"bars": [ROW[:5]]},
    ],
)
def test_records_that_are_not_valid_are_refused(change: dict[str, Any]) -> None:
    """Kernels check nothing, so every number is checked before."""
    assert decode_bars(record(VALID)).bars.minutes.tolist() == ROW[:1]
    with pytest.raises(InvalidTickError):
        decode_bars(record({**VALID, **change}))


@pytest.mark.parametrize("value", [None, b"", b"\xff", b"[" * 100_000, b"null"])
def test_other_values_are_refused(value: bytes | None) -> None:
    """Whatever a record holds, it raises no other error."""
    with pytest.raises(InvalidTickError):
        decode_bars(Record("ticks", 0, 0, b"A-USD", value))
