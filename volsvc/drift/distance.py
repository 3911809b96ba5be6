"""Distances of a sample from a reference distribution that is known at its quantiles."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Levels at which the reference distribution is known; a K-S distance is off by at most 1/80.
LEVELS: Final[Array] = np.arange(1, 40) / 40
# Ten bins of equal mass in the reference are usual for the population stability index.
PSI_BINS: Final = 10
_EVERY: Final = (len(LEVELS) + 1) // PSI_BINS
# Share that an empty bin counts as: its PSI would be infinite.
_MIN_SHARE: Final = 1e-3


def knots_of(values: Array) -> tuple[Array, Array]:
    """Return the quantiles of a sample at LEVELS, and the share of it at or below each.

    With ties the share exceeds the level. Both have the shape (len(LEVELS),).
    """
    ordered = np.sort(values)
    places = np.minimum((LEVELS * len(ordered)).astype(np.intp), len(ordered) - 1)
    knots = ordered[places]
    return knots, np.searchsorted(ordered, knots, side="right") / len(ordered)


def shares_below(values: Array, knots: Array) -> Array:
    """Return the share of a sample that is at or below each knot."""
    places = np.searchsorted(knots, values, side="left")
    counts = np.bincount(places, minlength=len(knots) + 1)[: len(knots)]
    below: Array = np.cumsum(counts) / len(values)
    return below


def kolmogorov_smirnov(shares: Array, reference: Array) -> Array:
    """Return the greatest difference of two distributions: shape (..., knots) to (...)."""
    return np.asarray(np.abs(shares - reference).max(axis=-1))


def population_stability(shares: Array, reference: Array) -> Array:
    """Return sum (p - q) ln(p / q) over PSI_BINS bins: shape (..., knots) to (...)."""
    p, q = (np.maximum(_bins(s), _MIN_SHARE) for s in (shares, reference))
    return np.asarray(((p - q) * np.log(p / q)).sum(axis=-1))


def _bins(shares: Array) -> Array:
    inner = shares[..., _EVERY - 1 :: _EVERY]
    edges = (np.zeros_like(inner[..., :1]), inner, np.ones_like(inner[..., :1]))
    return np.diff(np.concatenate(edges, axis=-1), axis=-1)
