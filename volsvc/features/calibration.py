"""How far realised volatility falls from what was forecast, learnt from each symbol's own past.

A model brings the pooled law of its residuals ln RV - ln forecast; a symbol's own law is kept as
the share of residuals in each of the pooled law's bins, with exponential forgetting. So a new
symbol has the pooled law, and an old one its own. Everything moves with event time: a forecast is
issued at the end of each minute with trades, and settled when the minutes of its horizon are over.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from volsvc.domain import COVERAGE
from volsvc.features.outcomes import HORIZON_MINUTES, Settled
from volsvc.features.packing import pack, unpack

Array = NDArray[np.float64]

_TAIL_LEVELS = (0.005, 0.01, 0.02, 0.035, 0.05, 0.065, 0.08)
_MIDDLE_LEVELS = tuple(level / 20 for level in range(2, 19))
_TAIL_LEVELS = (0.005, 0.01, 0.02, 0.035, 0.05, 0.065, 0.08)
_MIDDLE_LEVELS = tuple(level / 20 for level in range(2, 19))
LEVELS: Final[Array] = np.array(
    (0.0, *_TAIL_LEVELS, *_MIDDLE_LEVELS, *(1 - level for level in reversed(_TAIL_LEVELS)), 1.0)
)
"""Probabilities at which a pooled law is given."""
MEMORY: Final = 3000.0
"""Residuals, one a minute, that a symbol's own law rests on."""
OWN_FROM: Final = math.log(2) * MEMORY
"""Residuals from which on a symbol's own past outweighs the pooled law."""
TAIL: Final = 1.5
"""How far the outermost bins reach beyond the quantiles at 0.5 and 99.5 %, in log variance."""


class ResidualLaw:
    """A law of ln RV - ln forecast: probabilities `cumulated` at rising `quantiles`.

    Both have the shape (len(LEVELS),); between them it is linear.
    """

    __slots__ = ("_central", "cumulated", "median", "quantiles")

    def __init__(self, quantiles: Array, cumulated: Array = LEVELS) -> None:
        """Raises ValueError when the quantiles do not rise."""
        if quantiles.shape != LEVELS.shape or not (np.diff(quantiles) > 0).all():
            raise ValueError(f"a residual law needs {len(LEVELS)} rising quantiles")
        self.quantiles = quantiles
        self.cumulated = cumulated
        tail = (1 - COVERAGE) / 2
        low, middle, high = np.interp((tail, 0.5, 1 - tail), cumulated, quantiles).tolist()
        self._central = (low, high)
        self.median: float = middle

    @classmethod
    def of_residuals(cls, residuals: Array) -> ResidualLaw:
        """The empirical law of residuals of shape (n,)."""
        inner = np.quantile(residuals, LEVELS[1:-1])
        quantiles = np.concatenate(([inner[0] - TAIL], inner, [inner[-1] + TAIL]))
        # Ties (many windows at the floor) would leave bins of no width.
        return cls(np.maximum.accumulate(quantiles) + np.arange(len(quantiles)) * 1e-9)

    def above(self, residual: Array | float) -> Array:
        """P(ln RV - ln forecast > residual), for each."""
        return np.asarray(1 - np.interp(residual, self.quantiles, self.cumulated))

    def central(self) -> tuple[float, float]:
        """The residuals that bound the central interval of probability COVERAGE."""
        return self._central

    def bin(self, residual: float) -> int:
        """The bin of a residual, from 0 to len(LEVELS) - 2."""
        at = int(np.searchsorted(self.quantiles, residual)) - 1
        return min(max(at, 0), len(LEVELS) - 2)


class Calibration:
    """The residuals of one symbol under one model, at HORIZON_MINUTES."""

    __slots__ = ("_counts", "_issued", "_laws", "_own", "_shares", "digest")

    def __init__(self, digest: str, laws: Sequence[ResidualLaw]) -> None:
        """`digest` names the model, `laws` are its pooled laws, one a horizon."""
        self.digest = digest
        self._laws = tuple(laws)
        self._issued = [[math.nan] * ahead for ahead in HORIZON_MINUTES]
        self._shares = [np.diff(LEVELS) for _ in HORIZON_MINUTES]
        self._counts = [0] * len(HORIZON_MINUTES)
        self._own: list[ResidualLaw | None] = [None] * len(HORIZON_MINUTES)

    def settle(self, settled: Settled) -> None:
        """Judge what was issued one horizon before the end of a minute."""
        for index, ahead in enumerate(HORIZON_MINUTES):
            slot = settled.minute % ahead
            residual = settled.log_realised[index] - self._issued[index][slot]
            self._issued[index][slot] = math.nan
            if not math.isnan(residual):
                self._shares[index] *= 1 - 1 / MEMORY
                self._shares[index][self._laws[index].bin(residual)] += 1 / MEMORY
                self._counts[index] += 1
                self._own[index] = None

    def issue(self, minute: int, log_variances: Sequence[float]) -> None:
        """The forecasts made at the end of a minute, one a horizon; it has been settled before."""
        for issued, value in zip(self._issued, log_variances, strict=True):
            issued[minute % len(issued)] = value

    def law(self, index: int) -> ResidualLaw:
        """The symbol's law at a horizon of HORIZON_MINUTES."""
        law = self._own[index]
        if law is None:
            cumulated = np.concatenate(((0.0,), np.cumsum(self._shares[index])))
            law = ResidualLaw(self._laws[index].quantiles, cumulated / cumulated[-1])
            self._own[index] = law
        return law

    @property
    def own(self) -> bool:
        """Whether the symbol's own past outweighs the pooled law, at every horizon."""
        return min(self._counts) >= OWN_FROM

    def dump(self) -> Mapping[str, Any]:
        """The whole state, as JSON can carry it without loss."""
        return {
            "digest": self.digest,
            "issued": [pack(issued) for issued in self._issued],
            "shares": [pack(shares) for shares in self._shares],
            "counts": list(self._counts),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `dump` gave of the same model; of another one it is of no use."""
        if state["digest"] == self.digest:
            self._issued = [unpack(issued).tolist() for issued in state["issued"]]
            self._shares = [unpack(shares) for shares in state["shares"]]
            self._counts = list(state["counts"])
            self._own = [None] * len(HORIZON_MINUTES)
