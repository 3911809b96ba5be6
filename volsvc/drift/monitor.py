"""The drift check of a daemon: collects rows by event time and checks each completed window."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from volsvc.config.drift import DriftSettings
from volsvc.config.settings import Settings
from volsvc.domain import NS, PointForecast, format_time
from volsvc.drift import (
    CompletedWindow,
    DriftReferenceError,
    DriftResult,
    DriftRow,
    Reference,
    WindowCollector,
    judge,
)
from volsvc.drift.distance import Array
from volsvc.drift.report import HTML, ReportError, available, make_report
from volsvc.models import PACKAGED
from volsvc.models.drift_inputs import DRIFT_INPUTS, drift_inputs, is_warm
from volsvc.safe_io.disk import replace_file
from volsvc.telemetry.health import Health
from volsvc.telemetry.logs import get_logger

POLL_S: Final = 1.0
# Reports that stay on disk; one has some megabytes.
MAX_REPORTS: Final = 20
# Rows that Evidently plots.
SAMPLE_ROWS: Final = 5_000
PACKAGED_REFERENCE: Final = PACKAGED.with_suffix(".reference.npz")

# Called with `end`, `drifted` and `rows` of each check.
Listener = Callable[[Mapping[str, Any]], None]
# Returns a row of counts for each symbol, for the report.
Quality = Callable[[], list[dict[str, Any]]]

log = get_logger(__name__)


def read_reference(path: Path = PACKAGED_REFERENCE) -> Reference:
    """Read a reference file; raises DriftReferenceError if it is not one of DRIFT_INPUTS."""
    try:
        reference = Reference.load(path.read_bytes())
    except OSError as error:
        raise DriftReferenceError(f"{path}: cannot be read: {error.strerror or error}") from error
    except DriftReferenceError as error:
        raise DriftReferenceError(f"{path}: {error}") from error
    if reference.names != DRIFT_INPUTS:
        raise DriftReferenceError(f"{path}: its features are not those of this version")
    return reference


class DriftMetrics:
    """The metrics of drift."""

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
        # Series exist at 0 from the start (docs/metrics.md).
        for name in DRIFT_INPUTS:
            for family in (self.score, self.psi, self.detected):
                family.labels(name)

    def record(self, result: DriftResult, end_ns: int) -> None:
        """Record the verdicts on the newest window."""
        self.checks.inc()
        self.checked.set(end_ns / NS)
        for feature in result.features:
            self.score.labels(feature.feature).set(feature.ks or 0.0)
            self.psi.labels(feature.feature).set(feature.psi or 0.0)
            self.detected.labels(feature.feature).set(feature.verdict == "drift")


def build_drift_monitor(
    settings: Settings,
    health: Health,
    registry: CollectorRegistry,
    quality: Quality,
    listener: Listener,
) -> DriftMonitor | None:
    """Return the drift monitor of a consumer; None without one.

    If the reference cannot be read, the check `drift` in `/health` is degraded.
    """
    if not settings.drift.enabled or "consumer" not in settings.service.roles:
        return None
    path = settings.drift.reference
    try:
        reference = read_reference(Path(path) if path else PACKAGED_REFERENCE)
    except DriftReferenceError as error:
        health.report("drift", "degraded", str(error))
        return None
    folder = settings.service.data_dir / "drift"
    return DriftMonitor(reference, settings.drift, folder, registry, quality, listener)


class DriftMonitor:
    """Observes published snapshots, and checks completed windows in a task of its own.

    `last` is the result of the newest check, also of one before a restart.
    """

    def __init__(
        self,
        reference: Reference,
        settings: DriftSettings,
        folder: Path,
        registry: CollectorRegistry,
        quality: Quality,
        listener: Listener,
    ) -> None:
        """Write results and reports below `folder`; `listener` is called after each check."""
        self._reference = reference
        self._settings = settings
        self._folder = folder
        self._quality = quality
        self._collector = WindowCollector(settings.interval_s, settings.min_rows)
        self._metrics = DriftMetrics(registry)
        self.listener = listener
        self.last: Mapping[str, Any] | None = self._newest_result()

    def observe(self, forecast: PointForecast) -> None:
        """Collect the first published forecast of a symbol's minute, once the symbol is warm."""
        symbol, time_ns, *_ = forecast.row
        if is_warm(forecast.inputs) and self._collector.claim_minute(symbol, time_ns):
            values = drift_inputs(forecast.inputs, forecast.score)
            self._collector.add(DriftRow(symbol, time_ns, values))

    async def run(self) -> None:
        """Check completed windows until cancelled."""
        # Checks run here, so that the stream of forecasts never waits for one.
        while True:
            self._metrics.rows.set(len(self._collector))
            while self._collector.completed:
                await self._check(self._collector.completed.popleft())
            await asyncio.sleep(POLL_S)

    def state(self) -> Mapping[str, Any]:
        """Return the answer of /drift: the newest result, and the rows collected since."""
        return {
            "reference": dict(self._reference.facts),
            "interval_s": self._settings.interval_s,
            "false_alarms_per_week": self._settings.false_alarms_per_week,
            "gathered": {"rows": len(self._collector), "length": self._collector.length},
            "last": self.last,
            "report": self.report() is not None,
        }

    def report(self) -> Path | None:
        """Return the newest report, if there is one."""
        return next((p / HTML for p in reversed(self._folders()) if (p / HTML).exists()), None)

    def forget(self, symbol: str) -> None:
        """Forget a symbol that has left the table."""
        self._collector.forget(symbol)

    async def _check(self, window: CompletedWindow) -> None:
        rows, length, start_ns, end_ns = window
        budget = self._settings.false_alarms_per_week
        result = await asyncio.to_thread(judge, self._reference, rows, length, budget)
        self._metrics.record(result, end_ns)
        self.last = {
            "start": format_time(start_ns),
            "end": format_time(end_ns),
            **result.fields(),
            "data_quality": self._quality(),
        }
        drifted = list(result.drifted)
        level = log.warning if drifted else log.info
        level("drift_checked", end=self.last["end"], rows=len(rows), drifted=drifted)
        self.listener({"end": self.last["end"], "drifted": drifted, "rows": len(rows)})
        await self._store(rows, end_ns)

    async def _store(self, rows: Array, end_ns: int) -> None:
        """Write the result, and Evidently's report if it is installed.

        A failure is logged: metrics and /drift do not depend on the files.
        """
        assert self.last is not None, "a check has been made"
        # Names sort by time, which `_folders` relies on.
        folder = self._folder / format_time(end_ns).replace(":", "")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            result = json.dumps(self.last, indent=1).encode()
            await asyncio.to_thread(replace_file, folder / "result.json", result)
            for old in self._folders()[:-MAX_REPORTS]:
                shutil.rmtree(old, ignore_errors=True)
            if available():
                names, sample = self._reference.names, _subsample(rows)
                await make_report(folder, names, (self._reference.sample, sample), self.last)
        except (OSError, ReportError) as error:
            log.warning("drift_report_failed", error=str(error))

    def _folders(self) -> Sequence[Path]:
        """Return the folders of stored checks, oldest first."""
        return sorted(self._folder.glob("*Z")) if self._folder.is_dir() else ()

    def _newest_result(self) -> Mapping[str, Any] | None:
        # A folder may be without a result if the process ended in between.
        for folder in reversed(self._folders()):
            with contextlib.suppress(OSError, ValueError):
                found: Mapping[str, Any] = json.loads((folder / "result.json").read_text())
                return found
        return None


def _subsample(rows: Array) -> Array:
    """Return at most SAMPLE_ROWS rows at equal steps: a report is not random."""
    return rows[:: max(1, -(-len(rows) // SAMPLE_ROWS))]
