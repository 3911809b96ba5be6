"""What the commands `train` and `evaluate` do."""

from __future__ import annotations

import os
import platform
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any, Final

import numpy as np

from volsvc.commands.progress import progress_bar
from volsvc.config.settings import Settings, SettingsError
from volsvc.daemon.listeners import PartsListener
from volsvc.domain import Tick, VolsvcError, format_time, parse_time
from volsvc.features import MINUTE_NS, MinuteBar
from volsvc.models import (
    FEATURES,
    HORIZONS_S,
    Artefact,
    MlModel,
    Model,
    read_artefact,
    write_artefact,
)
from volsvc.models.base import SCALES_FROM, Array, matrix_of_scales
from volsvc.serving.publish_packaged import tracking_uri
from volsvc.sources.factory import file_source
from volsvc.sources.files import recordings_in
from volsvc.telemetry.health import Health
from volsvc.telemetry.metrics import Metrics
from volsvc.training.anchors import ANCHORS
from volsvc.training.bars import is_bars, read_bars
from volsvc.training.causality import check_causality
from volsvc.training.dataset import Minutes, bar_rows, load_panel
from volsvc.training.evaluation import Scores, pool, score
from volsvc.training.fit import FitSpec
from volsvc.training.pipeline import Fitted, fit_parts
from volsvc.training.plots import plot_held_out
from volsvc.training.report import Report, model_card, write_report
from volsvc.training.scores import qlike
from volsvc.training.walkforward import DAY, OURS, Fold, Outlook, folds, walk_forward

EXPLANATION: Final = (
    "No forecast of any model is below 2 % of the symbol's slow level: without that bound a few "
    "minutes after an outage decide the mean of EWMA. EWMA has its best half-life of 2 to 480 "
    "minutes per symbol and horizon. The HARs are refitted per symbol at the same times as our "
    "model; cascade means the horizon (at least 5 minutes), an hour (six at a horizon of one), a "
    "day and a week. log-HAR, QLIKE-HAR and QLIKE-HAR-5 have the daily pattern taken out; "
    "QLIKE-HAR-5 has the windows 5 and 30 minutes, 3 hours, a day and a week. Diebold-Mariano on "
    "daily means, Newey-West with 7 lags; negative t is in our favour. Spikes: RV above its "
    "trailing 30-day 90 % quantile."
)
GOLDEN_ROWS: Final = 24
GOLDEN_WINDOWS: Final = (
    (0.05, 0.01, 50.0, np.nan),
    (1e-6, 3e-5, 49.0, 10.0),
    (0.0, 1e-6, 49.0, 600.0),
)
CHECKED_BARS: Final = 20_000
# Where the first CHECKED_BARS bars of a recording are cut to see whether a forecast changes.
CHECKED_SHARES: Final = (0.3, 0.7, 0.95)
# Every how many minutes a row is taken for the fits that leave a symbol out: there are many.
LEFT_OUT_STEP: Final = 16
PACKAGES: Final = ("numpy", "scikit-learn", "scipy")


class TrainingError(VolsvcError):
    """Training or evaluation cannot be done with what was given."""


def load(settings: Settings, paths: Sequence[Path]) -> list[Minutes]:
    """The data sets of recordings, built by the online engine or taken from the cache."""
    files = [file for path in paths for file in recordings_in(path)]
    done = 0

    def ticks_of(path: Path) -> Iterator[Tick]:
        return (
            row for row in file_source(settings, path, PartsListener(Metrics(), Health())).ticks()
        )

    cache = settings.service.data_dir / "cache"
    panel: list[tuple[Path, Minutes]] = []
    with progress_bar("features of minutes", lambda: done / len(files)) as advance:
        for file in files:
            panel += [(file, one) for one in load_panel([file], cache, ticks_of, advance)]
            done += 1
    # The same market of two venues, or at two times: the file's name tells them apart.
    counts = Counter(symbol.symbol for _, symbol in panel)
    return [
        replace(one, symbol=f"{one.symbol} ({file.name.split('.')[0]})")
        if counts[one.symbol] > 1
        else one
        for file, one in panel
    ]


def minute_of(name: str, text: str) -> int:
    """A minute since the epoch out of an RFC 3339 time or a date."""
    try:
        return parse_time(text if "T" in text else f"{text}T00:00:00Z") // MINUTE_NS
    except ValueError as error:
        raise SettingsError(f"{name}: {error}") from error


@dataclass(frozen=True)
class TrainOptions:
    """What to train on, and what to do with the model."""

    data: Sequence[Path]
    until: str | None
    out: Path
    version: str
    compare: Path | None
    register: bool


def train_model(settings: Settings, options: TrainOptions) -> None:
    """Fit on the recordings and write the artefact; says how it compares with another one."""
    panel = load(settings, options.data)
    last = max(symbol.start + len(symbol) for symbol in panel)
    end = minute_of("--until", options.until) if options.until else last
    spec = FitSpec()
    _check_length(panel, end, spec)
    fitted = _fit("fitting", panel, end, spec)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    facts = {**_facts(panel, min(end, last), spec), "metrics": fitted.metrics}
    write_artefact(options.out, fitted.parts, options.version, _golden(panel, end), facts)
    artefact = read_artefact(options.out)
    size = options.out.stat().st_size
    print(f"{options.out}: {artefact.model.digest[:12]}, {size / 1e6:.1f} MB")
    if options.compare is not None:
        print(_comparison(artefact.model, read_artefact(options.compare).model))
    if options.register:
        with tempfile.TemporaryDirectory() as folder:
            plot, card = Path(folder) / "held-out.png", Path(folder) / "card.md"
            plot_held_out(fitted.held_out, plot)
            card.write_text(model_card(artefact))
            _register(settings, artefact, options.out, (plot, card))


def _register(
    settings: Settings, artefact: Artefact, path: Path, documents: Sequence[Path]
) -> None:
    """Log the model with its facts and plots, and point the alias `ml` at it."""
    from volsvc.serving.mlflow_registry import Registry, candidates_of

    uri = tracking_uri(settings)
    settings.service.data_dir.mkdir(parents=True, exist_ok=True)
    registry = Registry(uri, settings.model.name)
    for candidate in candidates_of(artefact, path, documents):
        version = registry.register(candidate)
        print(f"{settings.model.name} version {version} is {candidate.variant}")


def _check_length(panel: Sequence[Minutes], end: int, spec: FitSpec) -> None:
    needed = spec.burn_in_minutes + 7 * DAY
    longest = max(min(symbol.start + len(symbol), end) - symbol.start for symbol in panel)
    if longest < needed:
        raise TrainingError(
            f"no recording has {needed / DAY:g} days before {_text(end)}; the longest has "
            f"{max(longest, 0) / DAY:.1f}"
        )


def _fit(what: str, panel: Sequence[Minutes], end: int, spec: FitSpec) -> Fitted:
    done = 0

    with progress_bar(what, lambda: done / len(HORIZONS_S)) as advance:

        def fitted(count: int) -> None:
            nonlocal done
            done += count
            advance(count)

        return fit_parts(panel, end, spec, fitted)


def _golden(panel: Sequence[Minutes], end: int) -> Array:
    """Feature rows from all over the data, and posted windows, to prove the artefact by."""
    rows = []
    for symbol in panel:
        known = np.flatnonzero(~np.isnan(symbol.scales[: max(end - symbol.start, 0), 0]))
        if len(known):
            share = max(GOLDEN_ROWS // len(panel), 1)
            rows.append(symbol.scales[known[np.linspace(0, len(known) - 1, share).astype(int)]])
    scales = np.concatenate(rows)
    golden = np.full((len(scales) + len(GOLDEN_WINDOWS), len(FEATURES)), np.nan)
    golden[: len(scales), SCALES_FROM:] = scales
    golden[len(scales) :, :SCALES_FROM] = GOLDEN_WINDOWS
    return golden


def _facts(panel: Sequence[Minutes], end: int, spec: FitSpec) -> Mapping[str, Any]:
    """What the artefact says of its making."""
    return {
        "trained_until": _text(end),
        "data": [
            {
                "symbol": symbol.symbol,
                "sha256": symbol.digest,
                "from": _text(symbol.start),
                "minutes": max(min(len(symbol), end - symbol.start), 0),
            }
            for symbol in panel
        ],
        "spec": asdict(spec),
        "packages": {name: version_of(name) for name in PACKAGES},
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
    }


def _text(minute: int) -> str:
    return format_time(minute * MINUTE_NS)


def _comparison(model: MlModel, other: MlModel) -> str:
    """Whether two artefacts are the same, and what differs if not."""
    if model.digest == other.digest:
        return "identical to the other artefact, byte for byte"
    differing = []
    for horizon, head, another in zip(
        HORIZONS_S, model.parts.heads, other.parts.heads, strict=True
    ):
        theirs = another.arrays()
        for name, array in head.arrays().items():
            if not np.array_equal(array, theirs[name]):
                differing.append(f"{horizon:g} s {name}")
    what = ", ".join(differing[:8]) if differing else "nothing but what is said of their making"
    return f"differs from the other artefact ({other.digest[:12]}) in: {what}"


@dataclass(frozen=True)
class EvaluateOptions:
    """What to evaluate: the span, how often to refit, and where the report goes."""

    data: Sequence[Path]
    start: str
    end: str | None
    refit_days: int
    model: Path | None
    leave_one_out: bool
    anchors: Sequence[str]
    title: str
    out: Path
    command: str


def evaluate_models(settings: Settings, options: EvaluateOptions) -> list[Scores]:
    """Walk forward over the recordings and write the report; returns the pooled scores."""
    panel = load(settings, options.data)
    start = minute_of("--start", options.start)
    last = max(symbol.start + len(symbol) for symbol in panel)
    spans = folds(
        start, minute_of("--end", options.end) if options.end else last, options.refit_days * DAY
    )
    models = _models(panel, spans, options)
    _check_causality(options.data, models[0])
    outlooks = _walk(panel, spans, models, options.anchors)
    scores = [score(outlook) for outlook in outlooks]
    pooled = [
        pool(
            [o for o in outlooks if o.horizon_s == horizon],
            [s for s in scores if s.horizon_s == horizon],
        )
        for horizon in HORIZONS_S
    ]
    left_out = _left_out(panel, spans) if options.leave_one_out else {}
    report = Report(
        options.title, options.command, _notes(panel, spans, options), pooled, scores, left_out
    )
    write_report(report, outlooks, options.out)
    print(f"{options.out / 'report.md'}")
    return pooled


def _models(
    panel: Sequence[Minutes], spans: Sequence[Fold], options: EvaluateOptions
) -> list[Model]:
    if options.model is not None:
        return [read_artefact(options.model).model] * len(spans)
    spec = FitSpec()
    _check_length(panel, spans[0].start, spec)
    return [_refitted(f"fitting before {_text(s.start)}", panel, s.start, spec) for s in spans]


def _check_causality(paths: Sequence[Path], model: Model) -> None:
    """Forecasts on the start of each recording, and on the same cut short: they must agree."""

    def forecasts(bars: Iterator[MinuteBar]) -> Sequence[Array]:
        scales = np.array([row.scales for row in bar_rows(bars)])
        return list(model.variances(matrix_of_scales(scales), HORIZONS_S))

    recordings = [file for path in paths for file in recordings_in(path) if is_bars(file)]
    for file in recordings:
        for bars in (bars[:CHECKED_BARS] for bars in read_bars(file).values()):
            check_causality(forecasts, bars, [round(len(bars) * share) for share in CHECKED_SHARES])
    if recordings:
        print(f"causality: forecasts of {len(recordings)} recordings do not know what comes after")


def _refitted(what: str, panel: Sequence[Minutes], start: int, spec: FitSpec) -> MlModel:
    """A model of what was known at the minute `start`, which names it."""
    return MlModel(_fit(what, panel, start, spec).parts, "walk-forward", f"{start}")


def _walk(
    panel: Sequence[Minutes],
    spans: Sequence[Fold],
    models: Sequence[Model],
    anchors: Sequence[str],
) -> list[Outlook]:
    outlooks: list[Outlook] = []
    done = 0
    with (
        progress_bar("walking forward", lambda: done / len(panel)) as advance,
        ProcessPoolExecutor(min(os.cpu_count() or 1, len(panel))) as pool_of_processes,
    ):
        walk = partial(walk_forward, spans=spans, models=models, anchors=anchors)
        for result in pool_of_processes.map(walk, panel):
            outlooks += result
            done += 1
            advance(sum(len(outlook.minute) for outlook in result))
    return outlooks


def _left_out(panel: Sequence[Minutes], spans: Sequence[Fold]) -> dict[tuple[str, float], float]:
    """QLIKE of each symbol under models that were fitted on the others."""
    spec = replace(FitSpec(), step_minutes=LEFT_OUT_STEP)
    losses = {}
    for symbol in panel:
        others = [other for other in panel if other is not symbol]
        what = f"fitting without {symbol.symbol}"
        models = [_refitted(what, others, span.start, spec) for span in spans]
        for outlook in walk_forward(symbol, spans, models, anchors=()):
            loss = qlike(outlook.realised, outlook.variances[OURS]).mean()
            losses[symbol.symbol, outlook.horizon_s] = float(loss)
    return losses


def _notes(panel: Sequence[Minutes], spans: Sequence[Fold], options: EvaluateOptions) -> list[str]:
    tested = f"Tested from {_text(spans[0].start)} to {_text(spans[-1].end)}, at every minute"
    ours = (
        f"with the model of {options.model.name}, unchanged"
        if options.model
        else f"in {len(spans)} spans, each forecast by what was fitted on everything before it"
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


ANCHOR_NAMES: Final = tuple(ANCHORS)
