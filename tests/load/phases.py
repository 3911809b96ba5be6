"""The phases of a soak under faults: what was done, and what was seen meanwhile."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

NO_ANSWER, OK = "no answer", "ok"


@dataclass(slots=True)
class Phase:
    """A time in which the same healths are right.

    `allowed` are those healths, `whole` and `cut` are answers, `ended` those that a process took
    with it when it was killed, or ended for a reason.
    """

    name: str
    allowed: frozenset[str]
    began_s: float
    health: Counter[str] = field(default_factory=Counter)
    whole: int = 0
    cut: int = 0
    ended: int = 0
    rss_mb: list[float] = field(default_factory=list)


class Course:
    """The phases so far, and the faults that were seen in them."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self.phases: list[Phase] = []
        self.faults: list[str] = []

    @property
    def now_s(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began_s

    @property
    def phase(self) -> Phase:
        """The present phase."""
        return self.phases[-1]

    def begin(self, name: str, *allowed: str) -> None:
        """Begin a phase in which these healths are right."""
        self.phases.append(Phase(name, frozenset(allowed), self.now_s))
        print(f"{clock(self.now_s)} {name}", flush=True)

    def fault(self, text: str) -> None:
        """Note a fault."""
        self.faults.append(f"{clock(self.now_s)} {self.phase.name}: {text}")
        print(f"FAULT {self.faults[-1]}", flush=True)

    def saw(self, health: str, since: Phase) -> None:
        """Note a health, which is right if a phase since that of its question allows it."""
        self.phase.health[health] += 1
        asked = self.phases[self.phases.index(since) :]
        if not any(health in phase.allowed for phase in asked):
            self.fault(f"health was {health}, right is {' or '.join(sorted(since.allowed))}")

    def table(self) -> str:
        """Return the table of the phases, in Markdown."""
        rows = [
            "| time | what was done | health seen | answers | cut | cut by its end | RSS MB |",
            "| --- | --- | --- | --: | --: | --: | --: |",
        ]
        for phase in self.phases:
            seen = "; ".join(f"{text}, {n} seen" for text, n in phase.health.items()) or "-"
            rss = f"{phase.rss_mb[0]:.0f} → {phase.rss_mb[-1]:.0f}" if phase.rss_mb else "-"
            counts = f"{phase.whole} | {phase.cut} | {phase.ended}"
            rows.append(f"| {clock(phase.began_s)} | {phase.name} | {seen} | {counts} | {rss} |")
        return "\n".join(rows)


def clock(seconds: float) -> str:
    """Return minutes and seconds."""
    return f"{int(seconds) // 60:02}:{int(seconds) % 60:02}"


def thirds(values: Iterable[float]) -> tuple[float, float]:
    """Return the medians of the first and of the last third."""
    listed = list(values)
    third = max(1, len(listed) // 3)
    return statistics.median(listed[:third]), statistics.median(listed[-third:])
