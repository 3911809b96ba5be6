"""`volsvc train`: fit the model on recordings, judge it, write its artefact and register it."""

from __future__ import annotations

import asyncio
import platform
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any, Final

import numpy as np

from volsvc.commands.arguments import minute_argument
from volsvc.commands.progress import progress_bar
from volsvc.config.settings import Settings
from volsvc.daemon.listeners import PartsListener
from volsvc.domain import format_time
from volsvc.domain.tick_columns import TickColumns
from volsvc.features import MINUTE_NS
from volsvc.models import (
    FEATURES,
    HORIZONS_S,
    Artefact,
    ArtefactError,
    Baseline,
    MlModel,
    Model,
    packaged,
    read_artefact,
    write_artefact,
)
from volsvc.models.base import Array
from volsvc.models.columns import SCALES_FROM
from volsvc.safe_io.disk import replacing
from volsvc.serving.factory import registered_model
from volsvc.serving.publish_packaged import tracking_uri
from volsvc.serving.registry_client import RegistryAwayError
from volsvc.sources.factory import file_source, row_options
from volsvc.sources.recordings.paths import files_of
from volsvc.telemetry.health import Health
from volsvc.telemetry.metrics import Metrics
from volsvc.training.dataset import Minutes, TrainingError, load_panel
from volsvc.training.fit import FitSpec
from volsvc.training.pipeline import FittedModel, fit_parameters
from volsvc.training.plots import plot_held_out
from volsvc.training.report import model_card
from volsvc.training.verdict import compare, verdict_of
from volsvc.training.walkforward import DAY

# Rows that an artefact is proved by: so many from the data, and windows as they are posted to
# /predict, in the order of FEATURES: one without a span, a short one, and one of a constant price.
GOLDEN_ROWS: Final = 24
GOLDEN_WINDOWS: Final = (
    (0.05, 0.01, 50.0, np.nan),
    (1e-6, 3e-5, 49.0, 10.0),
    (0.0, 1e-6, 49.0, 600.0),
)
# Packages whose version can change the result of a fit.
PACKAGES: Final = ("numpy", "scikit-learn", "scipy")


def load_minutes(settings: Settings, paths: Sequence[Path]) -> list[Minutes]:
    """Return the data sets of recordings, built by the online engine or read from the cache."""
    files = files_of(paths)

    def ticks_of(files: Sequence[Path]) -> Iterator[TickColumns]:
        return file_source(settings, files, PartsListener(Metrics(), Health())).columns()

    cache = settings.service.data_dir / "cache"
    with progress_bar("features of minutes") as advance:
        return load_panel(files, cache, ticks_of, advance, row_options(settings))


@dataclass(frozen=True)
class TrainOptions:
    """Options of `volsvc train`; `compare` is another artefact, `version` that of the new one."""

    data: Sequence[Path]
    until: str | None
    out: Path
    version: str
    compare: Path | None
    register: bool


def train_model(settings: Settings, options: TrainOptions) -> None:
    """Fit on the recordings, write the artefact, compare it, and register it if asked to.

    It serves nowhere until somebody promotes it.
    """
    panel = load_minutes(settings, options.data)
    last = max(symbol.start + len(symbol) for symbol in panel)
    end = minute_argument("--until", options.until) if options.until else last
    spec = FitSpec()
    check_length(panel, end, spec)
    fitted = fit_with_progress("fitting", panel, end, spec)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    facts = {**_facts(panel, min(end, last), spec), "metrics": fitted.metrics}
    golden = _golden(panel, end)
    with replacing(options.out) as part:
        write_artefact(part, fitted.parameters, options.version, golden, facts)
    artefact = read_artefact(options.out)
    size = options.out.stat().st_size
    print(f"{options.out}: {artefact.model.digest[:12]}, {size / 1e6:.1f} MB")
    if options.compare is not None:
        print(_comparison(artefact.model, read_artefact(options.compare).model))
    champion = _champion(settings)
    known = f"the champion ({champion.variant}-{champion.version})"
    for name, model in (("the baseline", Baseline()), (known, champion)):
        print("\n".join(verdict_of(name, compare(fitted.held_out, model))))
    if options.register:
        with tempfile.TemporaryDirectory() as folder:
            plot, card = Path(folder) / "held-out.png", Path(folder) / "card.md"
            plot_held_out(fitted.held_out, plot)
            card.write_text(model_card(artefact))
            _register(settings, artefact, options.out, (plot, card))


def _champion(settings: Settings) -> Model:
    """Return the model of the alias `ml`, or the packaged one, which serves where there is none."""
    try:
        return asyncio.run(registered_model(settings, None))
    except (ArtefactError, RegistryAwayError) as error:
        print(f"the champion is the packaged model: {error}")
        return packaged().model


def _register(
    settings: Settings, artefact: Artefact, path: Path, documents: Sequence[Path]
) -> None:
    """Log the model with its facts and plots in MLflow, as a candidate beside the baseline."""
    # Imported here: MLflow takes seconds, and is an extra.
    from volsvc.serving.mlflow_registry import Registry, candidates_of

    uri = tracking_uri(settings)
    settings.service.data_dir.mkdir(parents=True, exist_ok=True)
    registry = Registry(uri, settings.model.name)
    baseline, candidate = candidates_of(artefact, path, documents)
    registry.add(baseline)
    version = registry.register(candidate)
    print(f"registered as version {version} of {settings.model.name}, a candidate")
    print(f"to make it the champion: volsvc models promote {version}")


def check_length(panel: Sequence[Minutes], end: int, spec: FitSpec) -> None:
    """Raises TrainingError if no recording has the burn-in and a week before the minute `end`."""
    needed = spec.burn_in_minutes + 7 * DAY
    longest = max(min(symbol.start + len(symbol), end) - symbol.start for symbol in panel)
    if longest < needed:
        raise TrainingError(
            f"no recording has {needed / DAY:g} days before {minute_text(end)}; the longest has "
            f"{max(longest, 0) / DAY:.1f}"
        )


def fit_with_progress(title: str, panel: Sequence[Minutes], end: int, spec: FitSpec) -> FittedModel:
    """Fit on the data before the minute `end`, with a progress bar over the horizons."""
    done = 0

    with progress_bar(title, lambda: done / len(HORIZONS_S)) as advance:

        def on_fitted(count: int) -> None:
            nonlocal done
            done += count
            advance(count)

        return fit_parameters(panel, end, spec, on_fitted)


def _golden(panel: Sequence[Minutes], end: int) -> Array:
    """Return feature rows, spread over the data, and posted windows, to prove the artefact by."""
    rows = []
    for symbol in panel:
        # The scales are NaN until the first minute has ended.
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
    """Return the provenance that the artefact records: data, parameters, packages, machine."""
    return {
        "trained_until": minute_text(end),
        "data": [
            {
                "symbol": symbol.symbol,
                "sha256": symbol.digest,
                "from": minute_text(symbol.start),
                "minutes": max(min(len(symbol), end - symbol.start), 0),
            }
            for symbol in panel
        ],
        "spec": asdict(spec),
        "packages": {name: version_of(name) for name in PACKAGES},
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
    }


def minute_text(minute: int) -> str:
    """Return a minute since the epoch as an RFC 3339 time."""
    return format_time(minute * MINUTE_NS)


def _comparison(model: MlModel, other: MlModel) -> str:
    """Return a sentence that says if two artefacts are identical, and where they differ if not."""
    if model.digest == other.digest:
        return "identical to the other artefact, byte for byte"
    differing = []
    for horizon, head, another in zip(
        HORIZONS_S, model.parameters.heads, other.parameters.heads, strict=True
    ):
        theirs = another.arrays()
        for name, array in head.arrays().items():
            if not np.array_equal(array, theirs[name]):
                differing.append(f"{horizon:g} s {name}")
    parts = ", ".join(differing[:8]) if differing else "nothing but their provenance"
    return f"differs from the other artefact ({other.digest[:12]}) in: {parts}"
