"""The daemon's parts that the HTTP handlers use."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from volsvc.config.live import LIVE_KINDS
from volsvc.config.settings import Settings
from volsvc.drift.monitor import DriftMonitor
from volsvc.features import SymbolTable
from volsvc.pipeline.event_hub import EventHub
from volsvc.pipeline.latest_store import LatestStore
from volsvc.pipeline.quality_monitor import QualityMonitor
from volsvc.serving.audit_log import AuditLog
from volsvc.serving.controller import ModelController
from volsvc.serving.holder import ModelHolder
from volsvc.store import StoreReader
from volsvc.telemetry.health import Health
from volsvc.telemetry.metrics import Metrics
from volsvc.telemetry.tracing import Tracer
from volsvc.web.auth.api_keys import Keyring
from volsvc.web.views import FreshnessPolicy


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of the daemon, as `request.app[SERVICES]`.

    `audit_log` is None if its folder cannot be written, `drift` if drift is not checked here, and
    `past` if nothing is kept of it.
    """

    settings: Settings
    holder: ModelHolder
    latest_store: LatestStore
    table: SymbolTable
    health: Health
    metrics: Metrics
    controller: ModelController
    quality_monitor: QualityMonitor
    audit_log: AuditLog | None
    keyring: Keyring
    hub: EventHub
    drift: DriftMonitor | None
    tracer: Tracer
    past: StoreReader | None = None

    @property
    def freshness(self) -> FreshnessPolicy:
        """The rule by which answers about live symbols are stale."""
        live = self.settings.source.kind in LIVE_KINDS
        return FreshnessPolicy(self.settings.http.stale_after_s, live, self.health.silent)


SERVICES = web.AppKey("services", Services)
