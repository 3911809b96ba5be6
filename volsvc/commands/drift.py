"""`volsvc drift`: compare recordings with a reference by the daemon's drift test."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from volsvc.commands.arguments import minute_argument
from volsvc.commands.progress import progress_bar
from volsvc.config.settings import Settings, SettingsError
from volsvc.daemon.listeners import PartsListener
from volsvc.domain import SourceError
from volsvc.domain.extras import needs_extra
from volsvc.domain.tick_columns import TickColumns
from volsvc.drift import DriftResult, Reference, judge, summarise
from volsvc.drift.distance import Array
from volsvc.drift.monitor import read_reference
from volsvc.drift.report import HTML, JSON, ReportError, available, make_report
from volsvc.models import Model, packaged
from volsvc.models.drift_inputs import DRIFT_INPUTS
from volsvc.safe_io.disk import replace_file
from volsvc.sources.factory import file_source, row_options
from volsvc.sources.recordings.paths import files_of
from volsvc.telemetry.health import Health
from volsvc.telemetry.metrics import Metrics

# Rows of a day, one a minute.
DAY_ROWS: Final = 1440
# Features that a line of the summary names.
TOP_FEATURES: Final = 3
# Rows of the sample that the report embeds; one above 24 MB is refused.
REPORT_ROWS: Final = 5_000


@dataclass(frozen=True)
class DriftOptions:
    """Options of `volsvc drift`.

    `reference` has recordings, or one saved reference (.npz), or nothing for the packaged one.
    """

    reference: Sequence[Path]
    current: Sequence[Path]
    start: str | None
    out: Path | None
    save_reference: Path | None
    summary: Path | None


def drift(settings: Settings, options: DriftOptions) -> None:
    """Print the features that drift, and write the files that `options` names."""
    if options.out is not None:
        # An hour of reading must not end in a library that is not installed.
        import pandas as pd  # noqa: F401
    reference = _reference(settings, options)
    if options.save_reference is not None:
        _write(options.save_reference, reference.dump())
        print(f"{options.save_reference}: {reference.facts['rows']} rows")
    if not options.current:
        return
    by_file = {path: _streams(settings, [path]) for path in files_of(options.current)}
    budget = settings.drift.false_alarms_per_week
    if options.summary is not None:
        _write(options.summary, _summary(reference, by_file, budget).encode())
    streams = [stream for found in by_file.values() for stream in found]
    rows, length = np.concatenate(streams), max(map(len, streams))
    # The law of one stream of that length: the distance of several together varies less.
    result = judge(reference, rows, length, budget)
    _print(result)
    if options.out is not None:
        asyncio.run(_report(options.out, reference, rows, result))


def _reference(settings: Settings, options: DriftOptions) -> Reference:
    """Read the reference, or build one from recordings."""
    paths = options.reference
    if not paths or (len(paths) == 1 and paths[0].name.endswith(".npz")):
        if options.start is not None:
            raise SettingsError("--start: selects bars of recordings; the reference is a saved one")
        return read_reference(*paths)
    files = files_of(options.reference)
    start_minute = 0 if options.start is None else minute_argument("--start", options.start)
    streams = _streams(settings, files, start_minute)
    facts = {
        "files": [file.name for file in files],
        "start": options.start,
        "symbols": len(streams),
    }
    return summarise(DRIFT_INPUTS, streams, facts)


def _streams(settings: Settings, files: Sequence[Path], start_minute: int = 0) -> list[Array]:
    """Return the rows of each symbol, scored by the packaged model."""
    from volsvc.training.monitored import drift_streams

    model: Model = packaged().model

    def ticks_of(files: Sequence[Path]) -> Iterator[TickColumns]:
        yield from file_source(settings, files, PartsListener(Metrics(), Health())).columns()

    with progress_bar(f"reading {len(files)} recordings") as advance:
        return drift_streams(
            files,
            model,
            ticks_of,
            start_minute=start_minute,
            advance=advance,
            options=row_options(settings),
        )


def _print(result: DriftResult) -> None:
    fields = result.fields()
    print(f"{result.rows} rows, blocks of {result.length}; drift below p = {result.level:.2g}")
    for feature in fields["features"]:
        if feature["p_value"] is not None and feature["verdict"] == "drift":
            print(f"  {_line(feature)}")
    judged = [f for f in result.features if f.verdict in ("ok", "drift")]
    print(f"{len(result.drifted)} of {len(judged)} features drift")
    others = Counter(f.verdict for f in result.features if f.verdict not in ("ok", "drift"))
    if others:
        print("not judged: " + ", ".join(f"{count} {verdict}" for verdict, count in others.items()))


def _line(feature: Mapping[str, Any]) -> str:
    shift = feature["shift"]
    moved = f", median moved by {shift:+.2f} IQR" if shift is not None else ""
    return (
        f"{feature['feature']}: K-S {feature['ks']:.2f}, PSI {feature['psi']:.2f}, "
        f"p {feature['p_value']:.1g}{moved}"
    )


async def _report(out: Path, reference: Reference, rows: Array, result: DriftResult) -> None:
    """Write the HTML report, and the JSON beside it; raises ReportError or SourceError."""
    if not available():
        raise ReportError(needs_extra("the report", "evidently"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        thin = rows[:: max(1, len(rows) // REPORT_ROWS)]
        await make_report(folder, reference.names, (reference.sample, thin), result.fields())
        # Made elsewhere and copied, so that a report that fails leaves no half of one.
        try:
            shutil.copyfile(folder / HTML, out)
            shutil.copyfile(folder / JSON, out.with_suffix(".json"))
        except OSError as error:
            raise SourceError(f"{out}: cannot be written: {error.strerror or error}") from error
    print(out)


def _write(path: Path, data: bytes) -> None:
    try:
        replace_file(path, data)
    except OSError as error:
        raise SourceError(f"{path}: cannot be written: {error.strerror or error}") from error


# --- the summary ------------------------------------------------------------------------------


def _summary(reference: Reference, by_file: Mapping[Path, Sequence[Array]], budget: float) -> str:
    """Return a Markdown table of the days of each recording that drift."""
    text = (
        f"Reference: {reference.facts['rows']:,} minutes of {', '.join(reference.facts['files'])}"
        f" (from {reference.facts['start'] or 'the beginning'}). Each day of each recording is "
        f"judged by itself, as the service does it, with a budget of {budget:g} false alarms a "
        "week. A plain Kolmogorov-Smirnov test at the same level is beside it: it takes minutes "
        "for independent."
    )
    lines = [
        "# Drift of real recordings",
        "",
        text,
        "",
        "| recording | days | days with drift | features that drift most | plain K-S: days |",
        "| --- | --: | --: | --- | --: |",
    ]
    for path, streams in by_file.items():
        results = [
            (judge(reference, day, DAY_ROWS, budget), day)
            for stream in streams
            for day in _days(stream)
        ]
        lines.append(_summary_line(f"{path.parent.name}/{path.name}", reference, results))
    return "\n".join(lines) + "\n"


def _days(stream: Array) -> Iterator[Array]:
    """Yield the whole days of a stream."""
    for start in range(0, len(stream) - DAY_ROWS + 1, DAY_ROWS):
        yield stream[start : start + DAY_ROWS]


def _summary_line(
    name: str, reference: Reference, results: Sequence[tuple[DriftResult, Array]]
) -> str:
    drifted = Counter(feature for result, _ in results for feature in result.drifted)
    most = ", ".join(f"`{f}` ({n})" for f, n in drifted.most_common(TOP_FEATURES)) or "none"
    days = sum(bool(result.drifted) for result, _ in results)
    plain = sum(_plain(reference, day, result) for result, day in results)
    return f"| {name} | {len(results)} | {days} | {most} | {plain} |"


def _plain(reference: Reference, rows: Array, result: DriftResult) -> bool:
    """Return whether a Kolmogorov-Smirnov test that ignores dependence would alarm.

    Its p-value for n rows at the distance d is at most 2 exp(-2 n d^2) (Massart, 1990).
    """
    return any(
        f.ks is not None
        and f.verdict in ("ok", "drift")
        and 2 * np.exp(-2 * len(rows) * f.ks**2) < result.level
        for f in result.features
    )
