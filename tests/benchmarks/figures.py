"""Measurements, their references and their targets."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Literal

import msgspec


class Figure(msgspec.Struct, frozen=True):
    """A quantity measured in several rounds."""

    name: str
    unit: str
    rounds: list[float]

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.rounds)

    def __str__(self) -> str:
        return f"{rounded(self.median)} {self.unit}"

    def over(self, other: Figure) -> float:
        """Return the median of the ratios by round: neighbouring runs had equal conditions."""
        pairs = zip(self.rounds, other.rounds, strict=True)
        return statistics.median([mine / theirs if theirs else math.nan for mine, theirs in pairs])


class Target(msgspec.Struct, frozen=True):
    """A bound on the ratio to the reference, or on our own figure."""

    bound: Literal["at least", "at most"]
    value: float
    of: Literal["ratio", "figure"] = "ratio"

    def __str__(self) -> str:
        return f"{self.bound} {self.value:,g}{'x' if self.of == 'ratio' else ''}"

    def met(self, value: float) -> bool:
        """Return whether a ratio or a figure is within the bound."""
        return value >= self.value if self.bound == "at least" else value <= self.value


class Row(msgspec.Struct, frozen=True):
    """Our figure, with a reference of the same run or only a bound."""

    what: str
    ours: Figure
    reference: Figure | None = None
    target: Target | None = None

    @property
    def ratio(self) -> float | None:
        """Our figure divided by the reference's."""
        return None if self.reference is None else self.ours.over(self.reference)

    @property
    def reached(self) -> bool | None:
        """True if the target is met; None without one."""
        if self.target is None:
            return None
        value = self.ours.median if self.target.of == "figure" else self.ratio
        return value is not None and self.target.met(value)


class Curve(msgspec.Struct, frozen=True):
    """Lines over one quantity; `lines` has points (x, y) by name."""

    slug: str
    title: str
    x: str
    y: str
    lines: dict[str, list[tuple[float, float]]]
    from_zero: bool = True


class Results(msgspec.Struct):
    """The results of one benchmark, or of a whole run."""

    rows: list[Row] = []
    curves: list[Curve] = []
    # Further observations, as sentences.
    notes: list[str] = []

    def add(self, other: Results) -> None:
        """Add another benchmark's results, which replace those of the same name."""
        rows = (*self.rows, *other.rows)
        newest = {(row.what, row.reference and row.reference.name): row for row in rows}
        self.rows = list(newest.values())
        self.curves = list({curve.title: curve for curve in (*self.curves, *other.curves)}.values())
        self.notes = list(dict.fromkeys((*self.notes, *other.notes)))


def at_least(value: float, of: Literal["ratio", "figure"] = "ratio") -> Target:
    """Return a lower bound."""
    return Target("at least", value, of)


def at_most(value: float, of: Literal["ratio", "figure"] = "ratio") -> Target:
    """Return an upper bound."""
    return Target("at most", value, of)


def rounded(value: float) -> str:
    """Return a number with three significant digits."""
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def rates(name: str, unit: str, count: float, seconds: Sequence[float]) -> Figure:
    """Return `count` divided by each round's seconds, as a rate."""
    return Figure(name, unit, [count / took for took in seconds])
