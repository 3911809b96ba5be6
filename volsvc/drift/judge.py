"""The verdict on each feature: whether rows differ more than blocks of the reference do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from volsvc.drift.distance import Array, kolmogorov_smirnov, population_stability, shares_below
from volsvc.drift.reference import STATISTICS, TAIL_FROM, Reference

WEEK_S: Final = 7 * 86_400.0
# Event time between the rows of a symbol.
ROW_S: Final = 60.0

# constant: one value in the reference; too_few: not enough rows in the window; unknown: the
# reference has no distribution of the feature.
Verdict = Literal["ok", "drift", "constant", "too_few", "unknown"]


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """The verdict on a feature, with its distances and p-value, None where not computed.

    `shift` is the move of the median, in interquartile ranges of the reference; `missing` is the
    share of rows without a value.
    """

    feature: str
    verdict: Verdict
    ks: float | None = None
    psi: float | None = None
    p_value: float | None = None
    shift: float | None = None
    missing: float = 0.0


@dataclass(frozen=True, slots=True)
class DriftResult:
    """The verdicts on a window; a feature drifts if its p-value is below `level`."""

    features: tuple[FeatureDrift, ...]
    rows: int
    length: int
    level: float

    @property
    def drifted(self) -> tuple[str, ...]:
        """Names of the features that drift."""
        return tuple(f.feature for f in self.features if f.verdict == "drift")

    def fields(self) -> Mapping[str, Any]:
        """Return the result as JSON fields, the smallest p-value first."""
        ordered = sorted(self.features, key=lambda f: (f.p_value is None, f.p_value, -(f.ks or 0)))
        names = FeatureDrift.__dataclass_fields__
        return {
            "rows": self.rows,
            "length": self.length,
            "level": self.level,
            "drifted": list(self.drifted),
            "features": [{name: getattr(f, name) for name in names} for f in ordered],
        }


def judge(
    reference: Reference,
    rows: Array,
    length: int,
    false_alarms_per_week: float,
    row_s: float = ROW_S,
) -> DriftResult:
    """Compare rows, of shape (rows, features), with the reference.

    `length` is the number of rows of one symbol. The distance of several symbols together varies
    less than that of one, so its distribution for one is on the safe side. Checks are taken to
    follow one another, each `length` rows of `row_s` seconds long.
    """
    judged = sum(not constant for constant in reference.constant)
    # Bonferroni, which holds under any dependence between features: the budget is shared by all
    # features, both statistics and all windows of a week.
    a_week = WEEK_S / max(length * row_s, row_s)
    level = min(false_alarms_per_week / (a_week * max(judged, 1) * len(STATISTICS)), 1 - TAIL_FROM)
    tails = reference.tail_at(length)
    features = tuple(
        _feature(reference, i, rows[:, i], tails[i] if tails is not None else None, level)
        for i in range(len(reference.names))
    )
    return DriftResult(features, len(rows), length, level)


def _feature(
    reference: Reference, index: int, column: Array, tails: Array | None, level: float
) -> FeatureDrift:
    """Return the verdict on the values of one feature, with the distances that can be computed."""
    name, knots, shares = reference.names[index], reference.knots[index], reference.shares[index]
    known = column[np.isfinite(column)]
    missing = 1 - len(known) / len(column) if len(column) else 1.0
    if np.isnan(knots[0]):
        return FeatureDrift(name, "unknown", missing=missing)
    if not len(known):
        return FeatureDrift(name, "too_few", missing=missing)
    below = shares_below(known, knots)
    ks = float(kolmogorov_smirnov(below, shares))
    psi = float(population_stability(below, shares))
    shift = _shift(float(np.median(known)), knots)
    if reference.constant[index]:
        return FeatureDrift(name, "constant", ks, psi, None, shift, missing)
    if tails is None or missing > 0.5:
        return FeatureDrift(name, "too_few", ks, psi, None, shift, missing)
    if np.isnan(tails).any():
        return FeatureDrift(name, "unknown", ks, psi, None, shift, missing)
    # The tail of K-S is known for its square (docs/drift.md).
    p_values = [_p_value(value, *tail) for value, tail in zip((ks * ks, psi), tails, strict=True)]
    verdict: Verdict = "drift" if min(p_values) < level else "ok"
    return FeatureDrift(name, verdict, ks, psi, min(p_values), shift, missing)


def _p_value(value: float, start: float, excess: float) -> float:
    """Return P(distance > value) by the exponential tail; 1 - TAIL_FROM below its start."""
    if value <= start:
        return 1 - TAIL_FROM
    return (1 - TAIL_FROM) * math.exp(-(value - start) / excess) if excess > 0 else 0.0


def _shift(median: float, knots: Array) -> float | None:
    """Return the move of the median in interquartile ranges; None if the range is 0."""
    quarter = (len(knots) + 1) // 4
    low, middle, high = knots[[quarter - 1, 2 * quarter - 1, 3 * quarter - 1]].tolist()
    return (median - middle) / (high - low) if high > low else None
