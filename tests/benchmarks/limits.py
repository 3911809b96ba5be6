"""Reasons for targets out of reach: the work without some of its parts, and other designs."""

from __future__ import annotations

import asyncio
import gc
import json
import math
import statistics
import tracemalloc
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.engine import PER_S, SYMBOLS, through
from tests.benchmarks.figures import Figure, Results, Row, rates, rounded
from tests.benchmarks.fitting import profiled
from tests.benchmarks.market import absorb, tick_records
from tests.benchmarks.processes import FULL_RING, YOUNG, grown
from tests.benchmarks.rounds import MOST_ROUNDS, Bench, on_server_cpu, turns, turns_of
from tests.benchmarks.serving import LARGE
from tests.load.tools import ROW
from volsvc.config.settings import FeatureSettings, load_settings
from volsvc.daemon.daemon import Daemon
from volsvc.features import SymbolTable
from volsvc.pipeline import tick_applier
from volsvc.pipeline.forecaster import Forecaster
from volsvc.transport import OutRecord, Record
from volsvc.transport.codec import decode_tick
from volsvc.web.routes.predict import PredictJob, answer
from volsvc.web.routes.predict_body import read_request
from volsvc.web.services import SERVICES

# Roughly the number of values that a tick reads and writes in a state.
NUMBERS = 40
SHORT_HISTORY = 100
MOST_PLACES = 6
HORIZON_S, CALLS = 60.0, 20


def measure(bench: Bench) -> Results:
    """Measure ticks, symbols, memory, and large requests."""
    results = Results(ticks(bench))
    results.rows += layouts(bench)
    results.rows.append(asyncio.run(short_history(bench)))
    results.notes += [
        f"Where the memory of a symbol goes, {YOUNG} ticks old: {memory_of_a_symbol(bench)}.",
        f"Where the time of a tick goes, in process: {profile_of_ticks(bench)}.",
        f"Where the time of {LARGE:,} posted rows goes, in process: {steps_of_rows(bench)}.",
    ]
    return results


# --- a tick -------------------------------------------------------------------------------


def ticks(bench: Bench) -> list[Row]:
    """Measure a tick over the in-process bus, without some parts, and with two other designs."""
    records = tick_records(SYMBOLS, bench.sizes.ticks // SYMBOLS, PER_S)
    found = turns(
        bench.sizes.rounds,
        lambda: through(records, SymbolTable(FeatureSettings())),
        lambda: _without_forecasts(records),
        lambda: _read_and_kept(records),
        lambda: _in_long_slices(records),
    )
    ours, *others = (
        rates(name, "ticks/s", len(records), took)
        for name, took in zip(
            (
                "volsvc",
                "were forecasts and publishing free",
                "decoding, checks and state alone",
                "tried: slices ten times as long",
            ),
            found,
            strict=True,
        )
    )
    what = "tick in, full state, features out, on the in-process bus"
    return [Row(what, ours, other) for other in others]


@contextmanager
def _changed(**values: object) -> Iterator[None]:
    before = {name: getattr(tick_applier, name) for name in values}
    vars(tick_applier).update(values)
    try:
        yield
    finally:
        vars(tick_applier).update(before)


class _NoForecasts(Forecaster):
    """A forecaster without forecasts, so that nothing is published."""

    def forecast(self, *_: object) -> None:
        pass


def _without_forecasts(records: Sequence[OutRecord]) -> None:
    through(records, SymbolTable(FeatureSettings()), kind=_NoForecasts)


def _in_long_slices(records: Sequence[OutRecord]) -> None:
    long = {
        name: 10 * getattr(tick_applier, name)
        for name in ("SLICE_POINTS", "SLICE_SYMBOLS", "SLICE_RECORDS")
    }
    with _changed(**long):
        through(records, SymbolTable(FeatureSettings()), chunk=5_000)


def _read_and_kept(records: Sequence[OutRecord]) -> None:
    table = SymbolTable(FeatureSettings())
    for at, record in enumerate(records):
        absorb(table, decode_tick(Record("ticks.raw", 0, at, record.key, record.value)))


def profile_of_ticks(bench: Bench) -> str:
    """Return the functions that take most of a tick's time."""
    records = tick_records(SYMBOLS, bench.sizes.ticks // SYMBOLS, PER_S)
    with on_server_cpu():
        return profiled(lambda: through(records, SymbolTable(FeatureSettings())))


# --- symbols ------------------------------------------------------------------------------


def layouts(bench: Bench) -> list[Row]:
    """Compare a state's numbers as Python objects and packed, for one state and for many.

    What each does is the same for every number of states; what differs is how far apart they lie.
    """
    most, count = bench.sizes.symbols[-1], bench.sizes.ticks
    works = [_reader(make, states, count) for make in (_objects, _packed) for states in (1, most)]
    found = turns(bench.sizes.rounds, *works)
    one, many, packed_one, packed_many = (
        Figure(name, "µs", [1e6 * took / count for took in times])
        for name, times in zip(("one state", "many", "one state", "many"), found, strict=True)
    )
    what = f"{NUMBERS} numbers of a state read and written, {most:,} states"
    return [
        Row(f"{what}: objects", many, one),
        Row(f"{what}: tried, packed in an array each", packed_many, packed_one),
    ]


def _objects() -> list[float]:
    return [math.sqrt(at + 2) for at in range(NUMBERS)]


def _packed() -> array[float]:
    return array("d", _objects())


def _reader(
    make: Callable[[], list[float] | array[float]], states: int, count: int
) -> Callable[[], None]:
    made = [make() for _ in range(states)]

    def work() -> None:
        for at in range(count):
            state = made[at % states]
            for place in range(NUMBERS):
                state[place] += 1.0

    return work


# --- memory -------------------------------------------------------------------------------


async def short_history(bench: Bench) -> Row:
    """Measure the memory of an old symbol with a shorter `features.history`."""
    rounds = min(bench.sizes.rounds, MOST_ROUNDS)
    (kb,) = await turns_of(rounds, grown(bench, FULL_RING, SHORT_HISTORY))
    return Row(
        f"memory of a symbol, with a full ring of {SHORT_HISTORY} rows instead of 1,000",
        Figure("volsvc", "KB", kb),
    )


def memory_of_a_symbol(bench: Bench) -> str:
    """Return the bytes of a symbol's state and forecasts, by the allocating module."""
    symbols = bench.sizes.ring_symbols
    # One-time allocations are made before.
    through(tick_records(2, YOUNG, 1.0), SymbolTable(FeatureSettings()))
    table, records = SymbolTable(FeatureSettings()), tick_records(symbols, YOUNG, 1.0)
    gc.collect()
    tracemalloc.start()
    try:
        through(records, table)
        gc.collect()
        traces = tracemalloc.take_snapshot().statistics("filename")
    finally:
        tracemalloc.stop()
    kb: Counter[str] = Counter()
    for trace in traces:
        kb[_place(trace.traceback[0].filename)] += trace.size
    shares = ((name, size / symbols / 1024) for name, size in kb.most_common(MOST_PLACES))
    total = sum(kb.values()) / symbols / 1024
    parts = ", ".join(f"{name} {share:.1f} KB" for name, share in shares)
    return f"{parts}, of {total:.0f} KB that Python asked for"


def _place(file: str) -> str:
    path = Path(file)
    return f"`{path.stem}`" if "volsvc" in path.parts else "libraries"


# --- a large request ----------------------------------------------------------------------


def steps_of_rows(bench: Bench) -> str:
    """Measure the milliseconds of each step from a body to an answer, in process."""
    body = json.dumps({"rows": [ROW] * LARGE}).encode()
    settings = {"source": {"kind": "none"}, "service": {"data_dir": str(bench.folder / "var")}}
    server = Daemon(load_settings(None, settings))._server
    assert server is not None
    services = server._runner.app[SERVICES]
    task = PredictJob(body, False, services.holder.current, services)
    asked = read_request(body, LARGE, lenient=False)
    model, matrix = services.holder.current.model, asked.matrix
    works = (
        lambda: answer(task),
        lambda: read_request(body, LARGE, lenient=False),
        lambda: asked.matrix,
        lambda: model.predict(matrix, HORIZON_S),
    )
    found = turns(CALLS * bench.sizes.rounds, *works)
    whole, *steps = (1e3 * statistics.median(took) for took in found)
    names = ("reading and checking", "the matrix", "the model")
    parts = [f"{rounded(ms)} ms {name}" for ms, name in zip(steps, names, strict=True)]
    return f"{', '.join(parts)}, {rounded(whole - sum(steps))} ms {LARGE:,} answers"
