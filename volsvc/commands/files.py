"""`volsvc generate` and `features`: files of generated ticks, and of the features of recordings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from volsvc.commands.arguments import time_argument
from volsvc.commands.progress import progress_bar
from volsvc.commands.reading import SummaryForm, print_summary
from volsvc.commands.row_writer import (
    check_output,
    write_columns,
    write_rows,
)
from volsvc.config.settings import Settings, SettingsError
from volsvc.daemon.listeners import PartsListener
from volsvc.domain import NS, format_time
from volsvc.features import PointGrid, SymbolTable, apply_recording
from volsvc.features.kernels.apply import NONE
from volsvc.sources.factory import file_source
from volsvc.sources.generator import Generator, GeneratorSpec
from volsvc.sources.recordings.tables.columns import Coded
from volsvc.sources.recordings.tables.csv_text import Times
from volsvc.sources.recordings.tables.row_formats import Column, Row
from volsvc.telemetry.health import Health
from volsvc.telemetry.metrics import Metrics

FEATURE_COLUMNS = ("symbol", "time", "price", "ret_mean", "ret_std", "n")
TICK_COLUMNS = ("symbol", "time", "price", "best_bid", "best_ask", "size", "side", "trade_id")
TRUTH_COLUMNS = ("true_sigma", "true_jump")


def generate_file(
    out: Path, *, minutes: float, seed: int, symbols: tuple[str, ...], start: str
) -> None:
    """Write generated ticks with the true volatility of each; raises SettingsError."""
    if not symbols:
        raise SettingsError("--symbols: name at least one symbol")
    start_ns = time_argument("--start", start)
    end_ns = start_ns + round(minutes * 60 * NS)
    spec = GeneratorSpec(symbols=symbols, seed=seed, start_ns=start_ns)
    reached_ns = start_ns

    def rows(advance: Callable[[int], None]) -> Iterator[Row]:
        nonlocal reached_ns
        for tick, sigma, jump in Generator(spec).ticks():
            reached_ns = min(tick.time_ns, end_ns)
            if tick.time_ns >= end_ns:
                return
            advance(1)
            fields = [getattr(tick, name) for name in TICK_COLUMNS[2:]]
            yield (tick.symbol, format_time(tick.time_ns), *fields, sigma, jump)

    def fraction() -> float:
        return (reached_ns - start_ns) / (end_ns - start_ns)

    with progress_bar(f"writing {out.name}", fraction) as advance:
        write_rows(out, (*TICK_COLUMNS, *TRUTH_COLUMNS), rows(advance))


def features_file(
    settings: Settings, files: Sequence[Path], out: Path, summary: SummaryForm
) -> None:
    """Write the features of a recording, computed by the engine of the daemon."""
    source = file_source(settings, files, PartsListener(Metrics(), Health()))
    check_output(out, [table.path for table in source.tables])
    table = SymbolTable(settings.features, grid=PointGrid())
    statuses: Counter[str] = Counter()

    def parts(advance: Callable[[int], None]) -> Iterator[Sequence[Column]]:
        for applied in apply_recording(table, source.columns(), statuses, rows=True):
            advance(len(applied.results))
            taken = applied.results["applied"] != NONE
            if not taken.any():
                continue
            rows = np.broadcast_to(applied.results["symbol"][:, None], taken.shape)[taken]
            different, codes = np.unique(rows, return_inverse=True)
            symbols = Coded(list(map(table.symbol, different.tolist())), codes)
            found = applied.rows[taken]
            times = Times(np.ascontiguousarray(found["time_ns"]))
            yield (symbols, times, *(found[name] for name in FEATURE_COLUMNS[2:]))

    with progress_bar(f"reading {source.label}", lambda: source.fraction) as advance:
        write_columns(out, FEATURE_COLUMNS, parts(advance))
    source.counts.classify(statuses)
    print_summary(source.tables, source.counts, summary)
