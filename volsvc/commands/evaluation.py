"""`volsvc evaluate`: compare forecasts with standard models, walking forward."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from volsvc.commands.arguments import minute_argument, split_names
from volsvc.commands.progress import progress_bar
from volsvc.commands.training import check_length, fit_with_progress, load_minutes, minute_text
from volsvc.config.settings import Settings, SettingsError
from volsvc.features.bars import minute_bars
from volsvc.models import (
    HORIZONS_S,
    MlModel,
    Model,
    read_artefact,
)
from volsvc.models.base import Array, matrix_of_scales
from volsvc.scoring.past_outcomes import qlike
from volsvc.sources.factory import row_options
from volsvc.sources.recordings.bars import grouped, read_bars
from volsvc.sources.recordings.paths import files_of
from volsvc.sources.recordings.tables.options import RowOptions
from volsvc.training.anchors import ANCHORS, HARS
from volsvc.training.causality import check_causality
from volsvc.training.dataset import Minutes, TrainingError, bar_rows
from volsvc.training.evaluation import Scores, pool, score
from volsvc.training.fit import FitSpec
from volsvc.training.report import Report, write_report
from volsvc.training.walkforward import DAY, OURS, Fold, WalkForwardResult, folds, walk_forward

EXPLANATION: Final = (
    "No forecast of any model is below 2 % of the symbol's slow level: without that bound a few "
    "minutes after an outage decide the mean of EWMA. EWMA has its best half-life of 2 to 480 "
    "minutes per symbol and horizon. The anchors are refitted per symbol at the same times as our "
    "model, or every so many days where that is not refitted. HAR, log-HAR and QLIKE-HAR have the "
    "windows of the horizon (at least 5 minutes), an hour (six at a horizon of one), a day and a "
    "week, QLIKE-HAR-5 those of 5 and 30 minutes, 3 hours, a day and a week, HExp exponential "
    "weights with half-lives of up to a week. All but HAR have the daily pattern taken out. The "
    "best HAR is the one of these five with the lowest loss afterwards. Diebold-Mariano on "
    "daily means, Newey-West with 7 lags; negative t is in our favour. Spikes: RV above its "
    "trailing 30-day 90 % quantile."
)
# The causality check takes this many bars at the start of a recording, two weeks, and cuts them at
# these shares of their length.
CHECKED_BARS: Final = 20_000
CHECKED_SHARES: Final = (0.3, 0.7, 0.95)
# Minutes between rows of the fits that leave a symbol out; longer than usual because there are as
# many fits as symbols in each span.
LEFT_OUT_STEP: Final = 16
# Minutes of a symbol that the anchors are fitted on and that are forecast, at least: four times the
# longest horizon, so that some forecasts of it mature.
LEAST_MINUTES: Final = 240


@dataclass(frozen=True)
class EvaluateOptions:
    """Options of `volsvc evaluate`; `command` is the command line that the report quotes.

    The test is from `start` on, or from so many days after the start of each recording.
    """

    data: Sequence[Path]
    start: str | None
    after_days: int | None
    end: str | None
    refit_days: int
    model: Path | None
    leave_one_out: bool
    anchors: Sequence[str]
    title: str
    out: Path
    command: str


def anchor_names(text: str) -> tuple[str, ...]:
    """Return the standard models that `--anchors` names, all by default; raises SettingsError."""
    names = split_names(text) or tuple(ANCHORS)
    if unknown := [name for name in names if name not in ANCHORS]:
        raise SettingsError(f"--anchors: {unknown[0]!r} is not one of {', '.join(ANCHORS)}")
    if "EWMA" not in names:
        raise SettingsError(f"--anchors: {text!r} is without EWMA, the reference of all figures")
    # The report tests our forecasts against the best of these at each horizon.
    if not set(names) & set(HARS):
        raise SettingsError(f"--anchors: {text!r} must name one of {', '.join(HARS)}")
    return names


def evaluate_models(settings: Settings, options: EvaluateOptions) -> list[Scores]:
    """Walk forward over the recordings, write the report, and return the pooled scores."""
    files = files_of(options.data)
    panel = load_minutes(settings, files)
    tests = _tests(panel, options)
    models = _models_of_spans(panel, tests, options)
    _check_causality(files, models[0], row_options(settings))
    results = _walk(panel, tests, models, options.anchors)
    scores = [score(result) for result in results]
    pooled = [
        pool(
            [r for r in results if r.horizon_s == horizon],
            [s for s in scores if s.horizon_s == horizon],
        )
        for horizon in HORIZONS_S
    ]
    left_out = _left_out(panel, tests[0]) if options.leave_one_out else {}
    report = Report(
        options.title, options.command, _notes(panel, tests, options), pooled, scores, left_out
    )
    write_report(report, results, options.out)
    print(f"{options.out / 'report.md'}")
    return pooled


def _tests(panel: Sequence[Minutes], options: EvaluateOptions) -> list[list[Fold]]:
    """Return the spans in which each symbol is tested; raises SettingsError or TrainingError."""
    if (options.start is None) == (options.after_days is None):
        raise SettingsError("--start: takes the first day of the test, or --after-days its place")
    if options.after_days is not None and options.model is None:
        raise SettingsError("--after-days: takes --model, since a fit is made before one day")
    if options.leave_one_out and len(panel) < 2:
        raise SettingsError("--leave-one-out: takes recordings of two symbols or more")
    last = max(symbol.start + len(symbol) for symbol in panel)
    end = minute_argument("--end", options.end) if options.end else last
    tests = []
    for symbol in panel:
        if options.after_days is not None:
            start = symbol.start + options.after_days * DAY
            own = min(symbol.start + len(symbol), end)
        else:
            start, own = minute_argument("--start", str(options.start)), end
        _check_test(symbol, start, own)
        tests.append(folds(start, own, options.refit_days * DAY))
    return tests


def _check_test(symbol: Minutes, start: int, end: int) -> None:
    """Raises SettingsError or TrainingError if a figure of the report would rest on nothing."""
    if start >= end:
        raise SettingsError(
            f"--start: {minute_text(start)} is not before the end of the test, {minute_text(end)}"
        )
    known = symbol.minute[~np.isnan(symbol.scales[:, 0])]
    before = int(np.count_nonzero(known < start))
    tested = int(np.count_nonzero((known >= start) & (known < end)))
    if min(before, tested) < LEAST_MINUTES:
        raise TrainingError(
            f"{symbol.symbol}: has {before} minutes before {minute_text(start)} and {tested} "
            f"from then to {minute_text(end)}; it takes {LEAST_MINUTES} of each"
        )


def _models_of_spans(
    panel: Sequence[Minutes], tests: Sequence[Sequence[Fold]], options: EvaluateOptions
) -> list[Model]:
    """Return the model of each span: the given one, or one fitted on everything before it."""
    if options.model is not None:
        return [read_artefact(options.model).model] * max(map(len, tests))
    # Without a model all symbols have the same spans.
    spans, spec = tests[0], FitSpec()
    check_length(panel, spans[0].start, spec)
    return [
        _fit_before(span.start, f"fitting before {minute_text(span.start)}", panel, spec)
        for span in spans
    ]


def _check_causality(files: Sequence[Path], model: Model, rows: RowOptions) -> None:
    """Raises CausalityError if a forecast changes when the bars after it are cut off."""

    def forecasts(bars: Any) -> Array:
        return model.variances(matrix_of_scales(bar_rows(bars).scales), HORIZONS_S)

    bars = grouped(files, rows).bars
    for group in bars:
        for series in read_bars(group, rows).values():
            checked = minute_bars(series)[:CHECKED_BARS]
            cuts = [round(len(checked) * share) for share in CHECKED_SHARES]
            check_causality(forecasts, checked, cuts)
    if bars:
        count = sum(map(len, bars))
        print(f"causality: no forecast of {count} recordings depends on later bars")


def _fit_before(start: int, title: str, panel: Sequence[Minutes], spec: FitSpec) -> MlModel:
    """Return a model fitted on the data before the minute `start`, which is its version."""
    fitted = fit_with_progress(title, panel, start, spec)
    return MlModel(fitted.parameters, "walk-forward", f"{start}")


def _processors() -> int:
    """Return the number of processors that this process may use; of the machine's on macOS."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _walk(
    panel: Sequence[Minutes],
    tests: Sequence[Sequence[Fold]],
    models: Sequence[Model],
    anchors: Sequence[str],
) -> list[WalkForwardResult]:
    """Forecast every symbol over its spans, each symbol in a process of its own."""
    results: list[WalkForwardResult] = []
    done = 0
    with (
        progress_bar("walking forward", lambda: done / len(panel)) as advance,
        ProcessPoolExecutor(min(_processors(), len(panel))) as pool_of_processes,
    ):
        walk = partial(walk_forward, anchors=anchors)
        all_models = [models[: len(spans)] for spans in tests]
        for of_symbol in pool_of_processes.map(walk, panel, tests, all_models):
            results += of_symbol
            done += 1
            advance(sum(len(result.minute) for result in of_symbol))
    return results


def _left_out(panel: Sequence[Minutes], spans: Sequence[Fold]) -> dict[tuple[str, float], float]:
    """Return the QLIKE of each symbol and horizon, by models that were fitted on the others."""
    spec = replace(FitSpec(), step_minutes=LEFT_OUT_STEP)
    losses = {}
    for symbol in panel:
        others = [other for other in panel if other is not symbol]
        title = f"fitting without {symbol.symbol}"
        models = [_fit_before(span.start, title, others, spec) for span in spans]
        for result in walk_forward(symbol, spans, models, anchors=()):
            loss = qlike(result.realised, result.variances[OURS]).mean()
            losses[symbol.symbol, result.horizon_s] = float(loss)
    return losses


def _notes(
    panel: Sequence[Minutes], tests: Sequence[Sequence[Fold]], options: EvaluateOptions
) -> list[str]:
    """Return the paragraphs of the report that say how it was made."""
    start = minute_text(min(spans[0].start for spans in tests))
    end = minute_text(max(spans[-1].end for spans in tests))
    tested = f"Tested from {start} to {end}, at every minute"
    if options.after_days is not None:
        tested += (
            f" from {options.after_days} days after the start of each recording on (tests of all "
            "symbols take the n-th days of all recordings together)"
        )
    ours = (
        f"with the model of {options.model.name}, unchanged"
        if options.model
        else f"in {len(tests[0])} spans, each forecast by what was fitted on everything before it"
    )
    proxy = "1-minute bars; at 60 s Parkinson's range of the next minute"
    if all(symbol.ticks for symbol in panel):
        proxy = "mid prices on a 5 s grid"
    checked = (
        "No forecast changed when the recording was cut short behind it (the causality check)."
    )
    symbols = ", ".join(f"{symbol.symbol} ({symbol.digest[:8]})" for symbol in panel)
    notes = [
        f"{tested}, {ours}. The last horizon before a fit is purged. {checked} Symbols: {symbols}.",
        f"Loss: QLIKE on realised variance from {proxy}; floor (0.5 bp)² a minute. {EXPLANATION}",
    ]
    if options.leave_one_out:
        notes.append(
            f"Leaving one out: the fits without a symbol use every {LEFT_OUT_STEP}th minute, the "
            f"main ones every {FitSpec().step_minutes}th."
        )
    return notes
