"""Ticks and bars applied to the records of their symbols, in batches."""

from __future__ import annotations

from typing import Any, Final

from volsvc.compiled import kernel, record_type
from volsvc.features.kernels import (
    minutes,
    price_window,
    prints,
    tick_check,
)
from volsvc.features.kernels import (
    points as at_points,
)

# A tick of a batch: `symbol` is the row of its state. `price` is the one that features use. `seen`
# is 1 if its identity is that of a tick that waits outside the state.
TICK = record_type(
    [
        ("symbol", "i8"),
        ("time_ns", "i8"),
        ("price", "f8"),
        ("volume", "f8"),
        ("trade_id", "i8"),
        ("identity", "i8"),
        ("quoted", "i8"),
        ("seen", "i8"),
        ("source", "i8"),
        ("published_ns", "i8"),
        ("partition", "i8"),
        ("offset", "i8"),
    ]
)
# Became of a tick: its status, the gaps that it showed and all of its symbol so far, the time at
# which the newest one showed, the bad prints that it dropped, and the sources of the ticks that it
# applied: perhaps one that was held, and itself; NONE for no tick. The status of a tick that was
# checked before, and has its turn now, is NONE.
NONE: Final = -1
RESULT = record_type(
    [
        ("symbol", "i8"),
        ("tick", "i8"),
        ("status", "i8"),
        ("gaps", "i8"),
        ("all_gaps", "i8"),
        ("gap_ns", "i8"),
        ("dropped", "i8"),
        ("applied", "i8", (2,)),
    ]
)
# Settings of features: `window_size` in prices, tolerances and the publishing step in ns, 0 for no
# points of that grid. Beside it, recordings are forecast every `every_ns` while the newest tick is
# not older than `fresh_ns`, or not at all with 0. A tick gives at most `most_points`.
OPTIONS = record_type(
    [
        ("window_size", "i8"),
        ("late_ns", "i8"),
        ("future_ns", "i8"),
        ("bad_print_sigmas", "f8"),
        ("step_ns", "i8"),
        ("every_ns", "i8"),
        ("fresh_ns", "i8"),
        ("most_points", "i8"),
    ]
)


def most_points(every_ns: int, fresh_ns: int) -> int:
    """Return the number of points that one tick may give."""
    # It may apply one that was held, and itself; each may end a minute, be on the publishing grid,
    # and come after some times of the other grid.
    return 2 * (2 + (fresh_ns // every_ns + 1 if every_ns else 0))


@kernel
def apply_ticks(
    records: Any,
    prices: Any,
    times: Any,
    options: Any,
    ticks: Any,
    first: int,
    ordered: bool,
    results: Any,
    points: Any,
    copies: Any,
    rows: Any,
) -> Any:
    """Apply ticks from `first` on while there is room for their points.

    With `ordered` the ticks have been checked before, and have waited for older ones. `points` get
    the points passed, and `copies` the state of ticks at each point of the publishing grid. `rows`
    get the features after each applied tick (ROW), of shape (ticks, 2) as `applied` in `results`.
    Copies and rows are left out where their arrays are empty.

    Returns the index of the first tick that was not applied, and the number of points.
    """
    count = 0
    settings = options[0]
    for index in range(first, len(ticks)):
        if count + settings.most_points > len(points):
            return index, count
        tick = ticks[index]
        state = records[tick.symbol].ticks
        result = results[index]
        _clear(result, tick.symbol, index)
        if not ordered and check(state, tick, settings, result) != tick_check.NEW:
            continue
        prints.keep(state.next, tick.time_ns, tick.price, tick.volume, tick.source)
        ring = prices[tick.symbol], times[tick.symbol]
        found = rows[index : index + 1]
        more = _take_turns(
            state, ring, settings, tick.symbol, result, points[count:], copies[count:], found
        )
        for place in range(count, count + more):
            points[place].tick = index
        count += more
    return len(ticks), count


@kernel
def _clear(result: Any, symbol: int, index: int) -> None:
    result.symbol = symbol
    result.tick = index
    result.status = NONE
    result.gaps = 0
    result.dropped = 0
    result.applied[0] = NONE
    result.applied[1] = NONE


@kernel
def check(state: Any, tick: Any, options: Any, result: Any) -> int:
    """Classify a tick, note its place in the log, and return its status."""
    gaps = state.check.gaps
    # Bars before the first tick stand for all ticks up to their end.
    bars_end = 0
    if state.minute.first_ns < 0:
        bars_end = (state.multiscale.minute + 1) * minutes.MINUTE_NS
    status = tick_check.classify(
        state.check,
        tick.time_ns,
        bars_end,
        tick.trade_id,
        tick.identity,
        tick.seen,
        tick.quoted,
        tick.published_ns,
        options.late_ns,
        options.future_ns,
    )
    state.partition = tick.partition
    state.offset = tick.offset
    result.status = status
    result.gaps = state.check.gaps - gaps
    result.all_gaps = state.check.gaps
    result.gap_ns = state.check.gap_ns
    return status


@kernel
def check_tick(records: Any, options: Any, ticks: Any, results: Any) -> int:
    """Classify the only tick of a batch, which is applied later, and return its status."""
    _clear(results[0], ticks[0].symbol, 0)
    return check(records[ticks[0].symbol].ticks, ticks[0], options[0], results[0])


@kernel
def _take_turns(
    state: Any,
    ring: Any,
    options: Any,
    symbol: int,
    result: Any,
    points: Any,
    copies: Any,
    rows: Any,
) -> int:
    """Apply the ticks whose turn has come, and return the number of points.

    A state copied between two of them holds the rest.
    """
    count = 0
    applied = 0
    prices, times = ring
    while state.next.present:
        if not _judge(state, ring, options, result):
            continue
        # A tick that confirms a held one has its turn afterwards, and is judged by itself.
        turn = state.prints.held if state.prints.held.present else state.next
        turn.present = 0
        count = _apply(state, ring, options, symbol, turn, points, copies, count)
        if len(rows):
            price_window.read_row(
                state.window, prices, times, options.window_size, rows[0, applied]
            )
        result.applied[applied] = turn.source
        applied += 1
    return count


@kernel
def _judge(state: Any, ring: Any, options: Any, result: Any) -> bool:
    """Judge the next tick and one that is held, and return True if one of them has its turn.

    That is the held one if it is still there.
    """
    held, following = state.prints.held, state.next
    if state.window.count == 0:
        return True
    last = ring[0][state.window.at]
    if held.present:
        if prints.confirms(held, last, following.price):
            return True
        held.present = 0
        state.prints.dropped += 1
        result.dropped += 1
    size, sigmas = options.window_size, options.bad_print_sigmas
    last_ns, price, time_ns = ring[1][state.window.at], following.price, following.time_ns
    if not prints.is_far(state, size, sigmas, last, last_ns, price, time_ns):
        return True
    prints.keep(held, time_ns, price, following.volume, following.source)
    following.present = 0
    return False


@kernel
def _apply(
    state: Any,
    ring: Any,
    options: Any,
    symbol: int,
    tick: Any,
    points: Any,
    copies: Any,
    count: int,
) -> int:
    """Apply a tick, write the points that it passes, and return their number."""
    prices, times = ring
    size, time_ns, price = options.window_size, tick.time_ns, tick.price
    if options.every_ns > 0 and state.window.count > 0:
        count = _pass_grid(state, ring, options, symbol, time_ns, points, count)
    current = state.minute
    if minutes.is_over(current, time_ns):
        # The window as it was at the end of the minute, without the tick that is beyond it.
        price_window.read_row(state.window, prices, times, size, points[count].row)
    price_window.push(state.window, prices, times, size, time_ns, price)
    if minutes.close_step(current, time_ns, price):
        bar = current.bar
        observed = min(minutes.observed(current, bar.minute + 1.0), 1.0)
        at_points.write_minute(points[count], symbol, state.multiscale, bar, bar.variance, observed)
        count += 1
        minutes.open_minute(bar, time_ns // minutes.MINUTE_NS, price)
    minutes.add_price(current, price, tick.volume)
    if options.step_ns > 0 and time_ns // options.step_ns > state.step:
        state.step = time_ns // options.step_ns
        at_points.write_newest(points[count], symbol, at_points.GRID, state, prices, times, size)
        if len(copies):
            copies[count] = state
        count += 1
    return count


@kernel
def _pass_grid(
    state: Any, ring: Any, options: Any, symbol: int, until_ns: int, points: Any, count: int
) -> int:
    """Write the points at the grid times from the newest tick to `until_ns`, while it is fresh."""
    prices, times = ring
    newest_ns = times[state.window.at]
    until_ns = min(until_ns, newest_ns + options.fresh_ns)
    at_ns = (newest_ns // options.every_ns + 1) * options.every_ns
    while at_ns <= until_ns:
        point = points[count]
        at_points.write_newest(
            point, symbol, at_points.GRID, state, prices, times, options.window_size
        )
        point.at_ns = at_ns
        count += 1
        at_ns += options.every_ns
    return count


@kernel
def newest_points(
    records: Any, prices: Any, times: Any, options: Any, symbols: Any, points: Any
) -> None:
    """Write the points at the newest ticks of symbols, given as rows of the table."""
    size = options[0].window_size
    for index in range(len(symbols)):
        symbol = symbols[index]
        state = records[symbol].ticks
        at_points.write_newest(
            points[index], symbol, at_points.NEWEST, state, prices[symbol], times[symbol], size
        )
