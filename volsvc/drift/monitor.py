"""The drift check of a daemon: gathers rows by event time, judges them when a window is over."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from volsvc.config.settings import Settings
from volsvc.config.watch import DriftSettings
from volsvc.domain import NS, Snapshot, format_time
from volsvc.drift import (
    DriftReferenceError,
    DriftResult,
    DriftRow,
    DriftWindow,
    Reference,
    Stretch,
    judge,
)
from volsvc.drift.distance import Array
from volsvc.drift.report import HTML, ReportError, available, make_report
from volsvc.models import PACKAGED
from volsvc.models.drift_inputs import MONITORED, is_warm, monitored_of
from volsvc.telemetry.health import Health
from volsvc.telemetry.logs import get_logger

LOOK_S: Final = 1.0
# Reports that stay on disk; one is some megabytes.
KEPT: Final = 20
SAMPLE_ROWS: Final = 5_000
PACKAGED_REFERENCE: Final = PACKAGED.with_suffix(".reference.npz")

Listener = Callable[[Mapping[str, Any]], None]
Quality = Callable[[], list[dict[str, Any]]]

log = get_logger(__name__)


def read_reference(path: Path = PACKAGED_REFERENCE) -> Reference:
    """A reference from disk that has our features; raises DriftReferenceError with its path."""
    try:
        reference = Reference.load(path.read_bytes())
    except OSError as error:
        raise DriftReferenceError(f"{path}: cannot be read: {error.strerror or error}") from error
    except DriftReferenceError as error:
        raise DriftReferenceError(f"{path}: {error}") from error
    if reference.names != MONITORED:
        raise DriftReferenceError(f"{path}: its features are not those of this version")
    return reference


class DriftMetrics:
    """The metrics of drift; series exist at 0 before the first check."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("feature",)
        self.score = Gauge(
            "volsvc_drift_score",
            "Kolmogorov-Smirnov distance to the reference in the newest window",
            labels,
            registry=registry,
        )
        self.psi = Gauge(
            "volsvc_drift_psi", "Population stability index of it", labels, registry=registry
        )
        self.detected = Gauge(
            "volsvc_drift_detected", "1 for a feature that drifts", labels, registry=registry
        )
        self.checks = Counter("volsvc_drift_checks", "Windows that were judged", registry=registry)
        self.rows = Gauge(
            "volsvc_drift_window_rows", "Rows gathered for the next check", registry=registry
        )
        self.checked = Gauge(
            "volsvc_drift_check_timestamp_seconds",
            "Event time of the end of the newest window that was judged",
            registry=registry,
        )
        for name in MONITORED:
            for family in (self.score, self.psi, self.detected):
                family.labels(name)

    def tell(self, result: DriftResult, end_ns: int) -> None:
        """The newest verdicts."""
        self.checks.inc()
        self.checked.set(end_ns / NS)
        for feature in result.features:
            self.score.labels(feature.feature).set(feature.ks or 0.0)
            self.psi.labels(feature.feature).set(feature.psi or 0.0)
            self.detected.labels(feature.feature).set(feature.verdict == "drift")


def build_drift_monitor(
    settings: Settings, health: Health, registry: CollectorRegistry, quality: Quality
) -> DriftMonitor | None:
    """The watch of a consumer; without a reference nothing is compared, and `/health` says so."""
    if not settings.drift.enabled or "consumer" not in settings.service.roles:
        return None
    given = settings.drift.reference
    try:
        reference = read_reference(Path(given) if given else PACKAGED_REFERENCE)
    except DriftReferenceError as error:
        health.report("drift", "degraded", str(error))
        return None
    folder = settings.service.data_dir / "drift"
    return DriftMonitor(reference, settings.drift, folder, registry, quality)


class DriftMonitor:
    """Hears every published snapshot; `run` judges beside the stream, which never waits for it."""

    def __init__(
        self,
        reference: Reference,
        settings: DriftSettings,
        folder: Path,
        registry: CollectorRegistry,
        quality: Quality,
    ) -> None:
        """`quality` gives a row of counts a symbol for the report; reports go below `folder`."""
        self._reference = reference
        self._settings = settings
        self._folder = folder
        self._quality = quality
        self._window = DriftWindow(settings.interval_s, settings.min_rows)
        self._metrics = DriftMetrics(registry)
        self.listeners: list[Listener] = []
        self.last: Mapping[str, Any] | None = self._newest()

    def see(self, snapshot: Snapshot) -> None:
        """Keep the first published snapshot of a symbol's minute, once the symbol is warm."""
        row = snapshot.row
        if is_warm(snapshot.features) and self._window.due(row.symbol, row.time_ns):
            self._window.add(DriftRow(row.symbol, row.time_ns, monitored_of(snapshot)))

    async def run(self) -> None:
        """Judge each window that is over, until cancelled."""
        while True:
            self._metrics.rows.set(len(self._window))
            while self._window.over:
                await self._check(self._window.over.popleft())
            await asyncio.sleep(LOOK_S)

    def state(self) -> Mapping[str, Any]:
        """The answer of /drift: the newest result, and what is gathered for the next."""
        return {
            "reference": dict(self._reference.facts),
            "interval_s": self._settings.interval_s,
            "false_alarms_per_week": self._settings.false_alarms_per_week,
            "gathered": {"rows": len(self._window), "length": self._window.length},
            "last": self.last,
            "report": self.report() is not None,
        }

    def report(self) -> Path | None:
        """The newest report, if there is one."""
        return next((p / HTML for p in reversed(self._kept()) if (p / HTML).exists()), None)

    def forget(self, symbol: str) -> None:
        """A symbol has left the table."""
        self._window.forget(symbol)

    async def _check(self, stretch: Stretch) -> None:
        rows, length, start_ns, end_ns = stretch
        budget = self._settings.false_alarms_per_week
        result = await asyncio.to_thread(judge, self._reference, rows, length, budget)
        self._metrics.tell(result, end_ns)
        self.last = {
            "start": format_time(start_ns),
            "end": format_time(end_ns),
            **result.fields(),
            "data_quality": self._quality(),
        }
        drifted = list(result.drifted)
        level = log.warning if drifted else log.info
        level("drift_checked", end=self.last["end"], rows=len(rows), drifted=drifted)
        for listener in self.listeners:
            listener({"end": self.last["end"], "drifted": drifted, "rows": len(rows)})
        await self._keep(rows, end_ns)

    async def _keep(self, rows: Array, end_ns: int) -> None:
        """Write the result, and Evidently's report where it is installed; neither is needed."""
        assert self.last is not None, "a check has been made"
        folder = self._folder / format_time(end_ns).replace(":", "")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "result.json").write_text(json.dumps(self.last, indent=1))
            for old in self._kept()[:-KEPT]:
                shutil.rmtree(old, ignore_errors=True)
            if available():
                names, sample = self._reference.names, _thinned(rows)
                await make_report(folder, names, (self._reference.sample, sample), self.last)
        except (OSError, ReportError) as error:
            log.warning("drift_report_failed", error=str(error))

    def _kept(self) -> Sequence[Path]:
        return sorted(self._folder.glob("*Z")) if self._folder.is_dir() else ()

    def _newest(self) -> Mapping[str, Any] | None:
        for folder in reversed(self._kept()):
            with contextlib.suppress(OSError, ValueError):
                found: Mapping[str, Any] = json.loads((folder / "result.json").read_text())
                return found
        return None


def _thinned(rows: Array) -> Array:
    """At most SAMPLE_ROWS of them, evenly, so that a report depends on the rows alone."""
    return rows[:: max(1, -(-len(rows) // SAMPLE_ROWS))]
