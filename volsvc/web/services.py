"""What the handlers are given: the parts of the daemon that they read."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from volsvc.board import Board
from volsvc.config import Settings
from volsvc.drift_watch import DriftWatch
from volsvc.features import SymbolTable
from volsvc.health import Health
from volsvc.journal import Journal
from volsvc.keys import Keyring
from volsvc.live_settings import LIVE_KINDS
from volsvc.metrics import Metrics
from volsvc.models import ModelHolder
from volsvc.models.control import ModelControl
from volsvc.scoreboard import Scoreboard
from volsvc.streams import Hub
from volsvc.tracing import Tracer
from volsvc.web.views import Freshness


@dataclass(frozen=True, slots=True)
class Services:
    """The parts behind the routes."""

    settings: Settings
    holder: ModelHolder
    board: Board
    table: SymbolTable
    health: Health
    metrics: Metrics
    control: ModelControl
    scoreboard: Scoreboard
    journal: Journal | None
    keyring: Keyring
    hub: Hub
    drift: DriftWatch | None
    tracer: Tracer

    @property
    def freshness(self) -> Freshness:
        """How old answers of live symbols may be."""
        live = self.settings.source.kind in LIVE_KINDS
        return Freshness(self.settings.http.stale_after_s, live, self.health.silent)


SERVICES = web.AppKey("services", Services)
