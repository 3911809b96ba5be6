"""The health of the daemon, as its parts report it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from volsvc.domain.texts import without_secrets

Status = Literal["ok", "degraded", "fail"]

_ORDER: tuple[Status, ...] = ("ok", "degraded", "fail")


@dataclass(frozen=True, slots=True)
class Check:
    """The status of one part, with a detail for the operator."""

    status: Status
    detail: str = ""


@dataclass(slots=True)
class Health:
    """The checks of a daemon by part.

    `ready` is true from the moment at which it serves until it stops, `draining` from the signal
    to stop. `silent` are the symbols whose live feed is down or sends nothing.
    """

    checks: dict[str, Check] = field(default_factory=dict)
    ready: bool = False
    draining: bool = False
    silent: set[str] = field(default_factory=set)

    @property
    def compiled(self) -> bool:
        """False while the kernels are being compiled: a request would wait for all of them."""
        kernels = self.checks.get("kernels")
        return kernels is None or kernels.status == "ok"

    @property
    def unready(self) -> str:
        """The reason for which it should get no requests; empty while it is ready."""
        if self.draining:
            return "draining"
        if not self.ready:
            return "starting"
        # A copy, because the metrics ask from a thread while the event loop adds checks.
        checks = list(self.checks.items())
        return "; ".join(f"{name}: {c.detail}" for name, c in checks if c.status == "fail")

    def report(self, part: str, status: Status, detail: str = "") -> bool:
        """Set the check of a part; return true if its status changed."""
        before = self.checks.get(part)
        self.checks[part] = Check(status, without_secrets(detail))
        return before is None or before.status != status

    @property
    def status(self) -> Status:
        """The worst status of any part."""
        return max((c.status for c in self.checks.values()), key=_ORDER.index, default="ok")
