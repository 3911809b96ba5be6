"""Cost of a tick by number of symbols, window, rate and batch."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

from tests.benchmarks.consuming import absorb, daemon_gc, table_of, warm_table, warm_through
from tests.benchmarks.figures import Curve, Figure, Results, Row, at_most
from tests.benchmarks.market import PER_S, SYMBOLS, tick_records
from tests.benchmarks.rounds import MOST_ROUNDS, Bench, timed_turns
from volsvc.features import SymbolTable

PACES = (1.0, 4.0, 20.0, 100.0, 1_000.0)


def measure(bench: Bench) -> Results:
    """Measure every curve."""
    results = Results()
    for curve in (against_symbols, against_window, against_pace, against_batch):
        results.add(curve(bench))
    return results


def against_symbols(bench: Bench) -> Results:
    """Measure the same ticks spread over more and more symbols with warm states."""
    places = bench.sizes.symbols
    state = _states(bench, [warm_table(symbols) for symbols in places], places)
    lines = {
        "decoding, checks and state": [
            (float(n), each.median) for n, each in zip(places, state, strict=True)
        ],
        "in process, all of it": [(float(n), _whole_cost(bench, n)) for n in places],
    }
    what = f"decoding, checks and state, a tick: {places[-1]:,} symbols beside {places[0]:,}"
    return Results(
        [Row(what, state[-1], state[0], at_most(1.5))],
        [Curve("symbols", "Cost of a tick against symbols", "symbols", "µs a tick", lines)],
    )


def _states(
    bench: Bench, tables: Sequence[SymbolTable], symbols: Sequence[int], past: int = 0
) -> list[Figure]:
    """Return the cost of a tick in tables of several sizes, in turns, after `past` ticks."""
    turn = dict.fromkeys(range(len(tables)), 0)

    def work(at: int) -> float:
        each = max(2, bench.sizes.ticks // symbols[at])
        records = tick_records(symbols[at], each, PER_S, start=past + turn[at] * each)
        turn[at] += 1
        with daemon_gc():
            started = time.perf_counter()
            absorb(tables[at], records)
            return 1e6 * (time.perf_counter() - started) / len(records)

    works = [partial(work, at) for at in range(len(tables))]
    found = timed_turns(bench.sizes.rounds, *works)
    return [Figure("the other end", "µs", took) for took in found]


def _whole_cost(bench: Bench, symbols: int) -> float:
    records = tick_records(symbols, max(2, bench.sizes.ticks // 2 // symbols), PER_S)
    rounds = min(bench.sizes.rounds, MOST_ROUNDS)
    (took,) = timed_turns(rounds, lambda: warm_through(records, symbols))
    return 1e6 * statistics.median(took) / len(records)


def against_window(bench: Bench) -> Results:
    """Measure longer windows, full from the start."""
    places = bench.sizes.windows
    past = max(places) + 1
    tables = [table_of(1, window_size=size) for size in places]
    for table in tables:
        absorb(table, tick_records(1, past, PER_S))
    state = _states(bench, tables, [1] * len(places), past)
    points = [(float(size), each.median) for size, each in zip(places, state, strict=True)]
    title = "Cost of a tick against the window"
    lines = {"decoding, checks and state": points}
    curve = Curve("window", title, "prices in the window", "µs a tick", lines)
    what = f"decoding, checks and state, a tick: window of {places[-1]:,} beside {places[0]:,}"
    return Results([Row(what, state[-1], state[0], at_most(1.1))], [curve])


def against_pace(bench: Bench) -> Results:
    """Measure busier markets: each symbol is published and forecast once a second."""

    def work(pace: float) -> Callable[[], float]:
        records = tick_records(SYMBOLS, bench.sizes.ticks // 2 // SYMBOLS, pace)
        return lambda: warm_through(records, SYMBOLS)

    title = "Cost of a tick against the pace"
    return _curve(bench, ("pace", title, "ticks a second and symbol"), PACES, work)


def against_batch(bench: Bench) -> Results:
    """Measure larger batches: each symbol is forecast once a batch, from its newest tick."""
    records = tick_records(SYMBOLS, bench.sizes.ticks // 2 // SYMBOLS, PER_S)

    def work(size: float) -> Callable[[], float]:
        return lambda: warm_through(records, SYMBOLS, chunk=round(size))

    title = "Cost of a tick against the batch"
    return _curve(bench, ("batch", title, "ticks published at once"), bench.sizes.batches, work)


def _curve(
    bench: Bench,
    names: tuple[str, str, str],
    places: Sequence[float],
    work: Callable[[float], Callable[[], float]],
) -> Results:
    count = bench.sizes.ticks // 2 // SYMBOLS * SYMBOLS
    found = timed_turns(min(bench.sizes.rounds, MOST_ROUNDS), *(work(place) for place in places))
    points = [
        (float(place), 1e6 * statistics.median(took) / count)
        for place, took in zip(places, found, strict=True)
    ]
    return Results([], [Curve(*names, "µs a tick", {"in process, all of it": points})])
