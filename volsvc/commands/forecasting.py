"""`volsvc forecast`: the forecasts of recordings."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from volsvc.commands.progress import progress_bar
from volsvc.commands.reading import SummaryForm, print_summary
from volsvc.commands.row_writer import check_output, write_columns
from volsvc.config.settings import Settings
from volsvc.daemon.listeners import PartsListener
from volsvc.features.bars import minute_bars
from volsvc.models import Model, packaged, read_artefact
from volsvc.serving.factory import registered_model
from volsvc.serving.model_choice import BASELINE
from volsvc.sources.factory import file_source, row_options
from volsvc.sources.recordings.bars import grouped, read_bars
from volsvc.sources.recordings.paths import files_of
from volsvc.sources.recordings.summary import ReadCounts
from volsvc.sources.recordings.tables.row_formats import Column
from volsvc.sources.recordings.tables.table import Table
from volsvc.sources.replay import FileSource
from volsvc.telemetry.health import Health
from volsvc.telemetry.metrics import Metrics
from volsvc.training.batch import COLUMNS, bar_points, forecast_columns, tick_points


@dataclass(frozen=True)
class ForecastOptions:
    """Options of `volsvc forecast`; `model` is a name or a path, see `_named_model`."""

    data: Sequence[Path]
    out: Path
    every_s: int
    horizons_s: Sequence[float]
    model: str
    summary: SummaryForm


def forecast_file(settings: Settings, options: ForecastOptions) -> None:
    """Write the forecasts that the service would have made on recordings of bars or ticks."""
    model = _named_model(settings, options.model)
    rows = row_options(settings)
    files = files_of(options.data)
    check_output(options.out, files)
    bars, ticks = grouped(files, rows)
    counts = ReadCounts()
    tables: list[Table] = []
    source: FileSource | None = None

    def forecasts(advance: Callable[[int], None]) -> Iterator[Sequence[Column]]:
        nonlocal source
        for group in bars:
            for symbol, series in read_bars(group, rows, counts, tables).items():
                due = bar_points(symbol, minute_bars(series), options.every_s)
                for part in forecast_columns(model, due, options.horizons_s, bars=True):
                    advance(len(part["sigma"]))
                    yield list(part.values())
        for group in ticks:
            source = file_source(settings, group, PartsListener(Metrics(), Health()))
            statuses: Counter[str] = Counter()
            # A tick within the last step counts as fresh, however short `stale_after_s` is.
            fresh_s = max(settings.http.stale_after_s, options.every_s)
            grid = (options.every_s, fresh_s)
            due = tick_points(source.columns(), settings.features, *grid, statuses)
            for part in forecast_columns(model, due, options.horizons_s, bars=False):
                advance(len(part["sigma"]))
                yield list(part.values())
            source.counts.classify(statuses)
            counts.add(source.counts)
            tables.extend(source.tables)

    def fraction() -> float:
        return source.fraction if source else float(not ticks)

    with progress_bar(f"writing {options.out.name}", fraction) as advance:
        write_columns(options.out, COLUMNS, forecasts(advance))
    print_summary(tables, counts, options.summary)


def _named_model(settings: Settings, name: str) -> Model:
    """Return the model of a name: `ml` (packaged), `baseline`, `registry[:VERSION]`, or a path.

    Raises ArtefactError or RegistryAwayError.
    """
    if name == "baseline":
        return BASELINE
    source, _, version = name.partition(":")
    if source == "registry":
        return asyncio.run(registered_model(settings, version or None))
    return (packaged() if name == "ml" else read_artefact(Path(name))).model
