"""Reasons for figures: where the time of a tick, the memory of a symbol and a request go."""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import tracemalloc
from collections import Counter
from pathlib import Path

from tests.benchmarks.consuming import table_of, through, warm_through
from tests.benchmarks.figures import Figure, Results, Row, rounded
from tests.benchmarks.fitting import profiled
from tests.benchmarks.market import PER_S, SYMBOLS, tick_records
from tests.benchmarks.processes import V1_SYMBOLS, YOUNG, full_rings, grown
from tests.benchmarks.rounds import MOST_ROUNDS, Bench, on_server_cpu, turns, turns_of
from tests.benchmarks.serving import LARGE
from tests.load.tools import ROW
from volsvc.config.settings import load_settings
from volsvc.daemon.daemon import Daemon
from volsvc.web.routes.predict import PredictJob, answer
from volsvc.web.routes.predict_body import read_request
from volsvc.web.services import SERVICES

SHORT_HISTORY = 100
MOST_PLACES = 6
HORIZON_S, CALLS = 60.0, 20


def measure(bench: Bench) -> Results:
    """Measure memory with a short history, and profile ticks, memory and large requests."""
    results = Results([asyncio.run(short_history(bench))])
    results.notes += [
        f"Where the memory of a symbol goes, {YOUNG} ticks old: {memory_of_a_symbol(bench)}.",
        f"Where the time of a tick goes, in process: {profile_of_ticks(bench)}.",
        f"Where the time of {LARGE:,} posted rows goes, in process: {steps_of_rows(bench)}.",
    ]
    return results


# --- a tick -------------------------------------------------------------------------------


def profile_of_ticks(bench: Bench) -> str:
    """Return the functions that take most of a tick's time."""
    records = tick_records(SYMBOLS, bench.sizes.ticks // SYMBOLS, PER_S)
    # What it does once is done before.
    warm_through(records, SYMBOLS)
    with on_server_cpu():
        return profiled(lambda: warm_through(records, SYMBOLS))


# --- memory -------------------------------------------------------------------------------


async def short_history(bench: Bench) -> Row:
    """Measure the memory of an old symbol with a shorter `features.history`."""
    rounds = min(bench.sizes.rounds, MOST_ROUNDS)
    folder = full_rings(bench, min(bench.sizes.ring_symbols, V1_SYMBOLS))
    (kb,) = await turns_of(rounds, grown(bench, folder, SHORT_HISTORY))
    return Row(
        f"memory of a symbol, with full rings of {SHORT_HISTORY} rows instead of 1,000",
        Figure("volsvc", "KB", kb),
    )


def memory_of_a_symbol(bench: Bench) -> str:
    """Return the bytes of a symbol's state and forecasts, by the allocating module."""
    symbols = min(bench.sizes.ring_symbols, V1_SYMBOLS)
    # One-time allocations are made before.
    through(tick_records(2, YOUNG, 1.0), table_of(2))
    table, records = table_of(symbols), tick_records(symbols, YOUNG, 1.0)
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
