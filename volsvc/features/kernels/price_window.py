"""The last prices of a symbol and their times, in a ring, and the mean and deviation of returns.

The ring of a symbol is a row of two arrays, `prices` and `times`, since its length is a setting.
Its newest `size` entries are the window; older ones are the history, whose rows are derived when
they are read.
"""

from __future__ import annotations

import math
from typing import Any

from volsvc.compiled import kernel, record_type
from volsvc.domain import NS
from volsvc.features.kernels import exact_sums

# `count` ticks were pushed in all; the newest is at `at` in the ring. Of `history` of them the rows
# can be derived; none after a restart.
WINDOW = record_type([("count", "i8"), ("at", "i8"), ("history", "i8"), ("sums", exact_sums.SUMS)])
# The numbers of a feature row, as they are published.
ROW = record_type(
    [
        ("time_ns", "i8"),
        ("price", "f8"),
        ("ret_mean", "f8"),
        ("ret_std", "f8"),
        ("n", "i8"),
        ("span_s", "f8"),
    ]
)


@kernel
def log_return(price: float, previous: float) -> float:
    """Return ln(price / previous), accurate to about the last bit even for the smallest moves."""
    # The difference of close prices is exact (Sterbenz), whereas their quotient, or the difference
    # of their logarithms, would round away the significant digits.
    move = (price - previous) / previous
    if -0.5 < move < 1:
        return math.log1p(move)
    return math.log(price) - math.log(previous)


@kernel
def start(window: Any) -> None:
    """Make a record of zeros a window without prices."""
    window.at = -1


@kernel
def returns_inside(window: Any, size: int) -> int:
    """Return the number of returns between the last `size` prices."""
    return max(0, min(window.count, size) - 1)


@kernel
def push(window: Any, prices: Any, times: Any, size: int, time_ns: int, price: float) -> None:
    """Add a positive price; the oldest one leaves a full window."""
    capacity = len(prices)
    newest = window.at
    if window.count >= size:
        # The oldest price leaves, and with it the return to the next one.
        oldest = newest - size + 1
        if oldest < 0:
            oldest += capacity
        following = oldest + 1 if oldest + 1 < capacity else 0
        exact_sums.add(window.sums, log_return(prices[following], prices[oldest]), -1)
    if window.count > 0:
        exact_sums.add(window.sums, log_return(price, prices[newest]), 1)
    at = newest + 1 if newest + 1 < capacity else 0
    prices[at] = price
    times[at] = time_ns
    window.at = at
    window.count += 1
    window.history += 1


@kernel
def read_row(window: Any, prices: Any, times: Any, size: int, row: Any) -> None:
    """Write the features after the newest tick into a record of ROW; zeros before the first."""
    at = window.at
    if at < 0:
        row.time_ns = 0
        row.price = 0.0
        row.ret_mean = 0.0
        row.ret_std = 0.0
        row.n = 0
        row.span_s = 0.0
        return
    n = returns_inside(window, size)
    first = at - n
    if first < 0:
        first += len(prices)
    row.time_ns = times[at]
    row.price = prices[at]
    row.ret_mean = exact_sums.mean(window.sums, n)
    row.ret_std = exact_sums.deviation(window.sums, n)
    row.n = n
    # Not negative: an accepted late tick is older than the start of a short window.
    row.span_s = max(0, times[at] - times[first]) / NS


@kernel
def read_history(window: Any, prices: Any, times: Any, size: int, past: Any, rows: Any) -> None:
    """Write the rows of the newest ticks, oldest first, into an array of ROW.

    `rows` has at most `window.history` elements. `past` is a WINDOW of zeros to work with.
    """
    before = min(window.count, len(rows) + size - 1)
    capacity = len(prices)
    past.count = window.count - before
    past.at = window.at - before
    if past.at < 0:
        past.at += capacity
    # The window of the first row fills anew, so that nothing older has to be in the ring.
    skipped = before - len(rows)
    for seen in range(before):
        at = past.at + 1 if past.at + 1 < capacity else 0
        if seen >= size:
            oldest = at - size
            if oldest < 0:
                oldest += capacity
            following = oldest + 1 if oldest + 1 < capacity else 0
            exact_sums.add(past.sums, log_return(prices[following], prices[oldest]), -1)
        if seen > 0:
            exact_sums.add(past.sums, log_return(prices[at], prices[past.at]), 1)
        past.at = at
        past.count = seen + 1
        if seen >= skipped:
            read_row(past, prices, times, size, rows[seen - skipped])


@kernel
def restore(
    window: Any, prices: Any, times: Any, size: int, old: Any, old_times: Any, start_over: Any
) -> None:
    """Fill the ring with the prices of a stored window, oldest first; sums agree to the last bit.

    `window` is the stored record, which keeps its count; its history is empty. `start_over` is a
    WINDOW of zeros to work with.
    """
    count = window.count
    start_over.at = -1
    for index in range(len(old)):
        push(start_over, prices, times, size, old_times[index], old[index])
    window.sums.returns[:] = start_over.sums.returns
    window.sums.squares[:] = start_over.sums.squares
    window.at = start_over.at
    window.count = count
    window.history = 0
