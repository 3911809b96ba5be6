"""What works and what does not, as each part reports it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Status = Literal["ok", "degraded", "fail"]

_ORDER: tuple[Status, ...] = ("ok", "degraded", "fail")


@dataclass(frozen=True, slots=True)
class Check:
    """The state of one part, with what an operator should know about it."""

    status: Status
    detail: str = ""


@dataclass(slots=True)
class Health:
    """The checks of a daemon; `ready` once it serves, and not any more while it drains.

    `silent` are symbols whose live feed is down or has fallen silent.
    """

    checks: dict[str, Check] = field(default_factory=dict)
    ready: bool = False
    draining: bool = False
    silent: set[str] = field(default_factory=set)

    def report(self, part: str, status: Status, detail: str = "") -> bool:
        """Note a part's state; true when its status changed."""
        before = self.checks.get(part)
        self.checks[part] = Check(status, detail)
        return before is None or before.status != status

    @property
    def status(self) -> Status:
        """The worst state of any part."""
        return max((c.status for c in self.checks.values()), key=_ORDER.index, default="ok")
