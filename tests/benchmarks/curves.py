"""Cost of a tick by number of symbols, window, rate and batch."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence

from tests.applied import apply
from tests.benchmarks.engine import PER_S, SYMBOLS, WINDOW, through
from tests.benchmarks.figures import Curve, Figure, Results, Row, at_most
from tests.benchmarks.market import tick_records, ticks, warm_table
from tests.benchmarks.rounds import MOST_ROUNDS, Bench, on_server_cpu, turns
from volsvc.config.settings import FeatureSettings
from volsvc.domain import Tick
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
    warm = WINDOW + 10
    tables = [warm_table(symbols, warm, PER_S) for symbols in places]
    # As in the daemon (`volsvc.daemon.gc_tuning`): long-lived objects are frozen.
    gc.freeze()
    state = _updates(bench, tables, places, warm)
    gc.unfreeze()
    lines = {
        "state": [(float(n), each.median) for n, each in zip(places, state, strict=True)],
        "in process, all of it": [(float(n), _whole_cost(bench, n)) for n in places],
    }
    what = f"cost of a tick, state: {places[-1]:,} symbols beside {places[0]:,}"
    return Results(
        [Row(what, state[-1], state[0], at_most(1.3))],
        [Curve("symbols", "Cost of a tick against symbols", "symbols", "µs a tick", lines)],
    )


def _updates(
    bench: Bench, tables: Sequence[SymbolTable], symbols: Sequence[int], warm: int
) -> list[Figure]:
    """Return the cost of a tick in tables of several sizes, in turns, after `warm` ticks."""
    took: list[list[float]] = [[] for _ in tables]
    for turn in range(bench.sizes.rounds):
        for table, count, times in zip(tables, symbols, took, strict=True):
            each = max(2, bench.sizes.ticks // count)
            batch = list(ticks(count, each, PER_S, start=warm + turn * each))
            times.append(1e6 * updated(table, batch) / len(batch))
    return [Figure("the other end", "µs", times) for times in took]


def updated(table: SymbolTable, batch: Sequence[Tick]) -> float:
    """Return the seconds that the states take to apply ticks."""
    with on_server_cpu():
        started = time.perf_counter()
        for tick in batch:
            state = table.state_for(tick.symbol, tick.time_ns)
            apply(state, tick)
            state.minutes.take_ended()
        return time.perf_counter() - started


def _whole_cost(bench: Bench, symbols: int) -> float:
    each = max(2, bench.sizes.ticks // 2 // symbols)
    records = tick_records(symbols, 2 * each, PER_S)
    half = len(records) // 2
    took = []
    for _ in range(min(bench.sizes.rounds, MOST_ROUNDS)):
        table = SymbolTable(FeatureSettings(max_symbols=max(10_000, symbols)))
        with on_server_cpu():
            took.append(through(records[half:], table, before=records[:half]))
    return 1e6 * statistics.median(took) / half


def against_window(bench: Bench) -> Results:
    """Measure longer windows, full from the start."""
    places = bench.sizes.windows
    warm = max(places) + 1
    tables = [warm_table(1, warm, PER_S, FeatureSettings(window_size=size)) for size in places]
    state = _updates(bench, tables, [1] * len(places), warm)
    points = [(float(size), each.median) for size, each in zip(places, state, strict=True)]
    title = "Cost of a tick against the window"
    curve = Curve("window", title, "prices in the window", "µs a tick", {"state": points})
    what = f"cost of a tick, state: window of {places[-1]:,} beside {places[0]:,}"
    return Results([Row(what, state[-1], state[0], at_most(1.1))], [curve])


def against_pace(bench: Bench) -> Results:
    """Measure busier markets: each symbol is published and forecast once a second."""

    def work(pace: float) -> Callable[[], object]:
        records = tick_records(SYMBOLS, bench.sizes.ticks // 2 // SYMBOLS, pace)
        return lambda: through(records, SymbolTable(FeatureSettings()))

    title = "Cost of a tick against the pace"
    return _curve(bench, ("pace", title, "ticks a second and symbol"), PACES, work)


def against_batch(bench: Bench) -> Results:
    """Measure larger batches: each symbol is forecast once a batch, from its newest tick."""
    records = tick_records(SYMBOLS, bench.sizes.ticks // 2 // SYMBOLS, PER_S)

    def work(size: float) -> Callable[[], object]:
        return lambda: through(records, SymbolTable(FeatureSettings()), chunk=round(size))

    title = "Cost of a tick against the batch"
    return _curve(bench, ("batch", title, "ticks published at once"), bench.sizes.batches, work)


def _curve(
    bench: Bench,
    names: tuple[str, str, str],
    places: Sequence[float],
    work: Callable[[float], Callable[[], object]],
) -> Results:
    count = bench.sizes.ticks // 2 // SYMBOLS * SYMBOLS
    found = turns(min(bench.sizes.rounds, MOST_ROUNDS), *(work(place) for place in places))
    points = [
        (float(place), 1e6 * statistics.median(took) / count)
        for place, took in zip(places, found, strict=True)
    ]
    return Results([], [Curve(*names, "µs a tick", {"in process, all of it": points})])
