"""Calibration of forecasts: the laws of each symbol's own residuals under each model.

The laws of a symbol start as the pooled laws of the model and are kept as the share of residuals in
each bin of the pooled laws, with exponential forgetting. So a new symbol has the pooled laws and an
old one its own. Everything moves with event time: a forecast is issued at the end of each minute
with trades, and its residual is known when the minutes of its horizon are over.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from volsvc.domain import HORIZON_MINUTES
from volsvc.domain.float_codec import pack, unpack
from volsvc.features.realised import RealisedAtMinute
from volsvc.features.residual_laws import LEVELS, ResidualLaws

# Number of residuals, one per minute, that a symbol's own law remembers.
MEMORY: Final = 3000.0
# Number of residuals that the pooled law counts for at each horizon; more at long horizons, whose
# outcomes overlap and so carry less information each.
PRIOR: Final = tuple(200.0 * math.sqrt(minutes) for minutes in HORIZON_MINUTES)


class Calibration:
    """Residuals of one symbol under one model at HORIZON_MINUTES."""

    __slots__ = (
        "_counts",
        "_dumped",
        "_issued",
        "_laws",
        "_minute",
        "_own",
        "_shares",
        "_turbulence",
        "digest",
    )

    def __init__(self, digest: str, laws: Sequence[ResidualLaws]) -> None:
        """Start from the pooled laws, one per horizon, of the model named by `digest`."""
        self.digest = digest
        self._laws = tuple(laws)
        # The newest minute that was added or forecast at.
        self._minute: int | None = None
        # Pending forecasts and their turbulence weights, by minute modulo horizon.
        self._issued = [[math.nan] * horizon for horizon in HORIZON_MINUTES]
        self._turbulence = [[0.0] * horizon for horizon in HORIZON_MINUTES]
        self._shares = [np.diff(law.cumulated, axis=1) for law in laws]
        self._counts = [[0.0, 0.0] for _ in HORIZON_MINUTES]
        self._own: list[ResidualLaws | None] = [None] * len(HORIZON_MINUTES)
        self._dumped: Mapping[str, Any] | None = None

    def add_realised(self, realised: RealisedAtMinute) -> None:
        """Learn from the forecasts whose horizons end with a minute."""
        self._dumped = None
        self._drop_overdue(realised.minute)
        for index, horizon in enumerate(HORIZON_MINUTES):
            slot = realised.minute % horizon
            residual = realised.log_realised[index] - self._issued[index][slot]
            self._issued[index][slot] = math.nan
            if not math.isnan(residual):
                self._learn(index, residual, self._turbulence[index][slot])

    def _drop_overdue(self, minute: int) -> None:
        """Drop the forecasts whose horizons ended with a minute that was never added."""
        # A gap of the feed skips minutes, and so does a model that was not held for a while. Their
        # slots would be read with the minutes of another horizon.
        if self._minute is not None:
            for issued, horizon in zip(self._issued, HORIZON_MINUTES, strict=True):
                for skipped in range(max(self._minute + 1, minute - horizon), minute):
                    issued[skipped % horizon] = math.nan
        self._minute = minute

    def _learn(self, index: int, residual: float, turbulence: float) -> None:
        shares, counts = self._shares[index], self._counts[index]
        place = self._laws[index].bin(residual)
        for law, weight in enumerate((1 - turbulence, turbulence)):
            if weight:
                # A plain mean with the pooled law until MEMORY is full, then forgetting.
                counts[law] += weight
                step = weight / min(PRIOR[index] + counts[law], MEMORY)
                shares[law] *= 1 - step
                shares[law, place] += step
        self._own[index] = None

    def issue(
        self, minute: int, log_variances: Sequence[float], turbulence: Sequence[float]
    ) -> None:
        """Keep the forecasts made at the end of a minute, one per horizon.

        The realised variances of the minute must have been added before.
        """
        self._dumped = None
        self._minute = minute
        for index, horizon in enumerate(HORIZON_MINUTES):
            self._issued[index][minute % horizon] = log_variances[index]
            self._turbulence[index][minute % horizon] = turbulence[index]

    def laws(self, index: int) -> ResidualLaws:
        """Return the symbol's laws at an index of HORIZON_MINUTES."""
        laws = self._own[index]
        if laws is None:
            total = np.zeros((2, len(LEVELS)))
            np.cumsum(self._shares[index], axis=1, out=total[:, 1:])
            laws = self._laws[index].with_cumulated(total / total[:, -1:])
            self._own[index] = laws
        return laws

    @property
    def own(self) -> bool:
        """True if the symbol's own residuals outweigh the pooled law at every horizon."""
        return all(sum(c) >= prior for c, prior in zip(self._counts, PRIOR, strict=True))

    def dump(self) -> Mapping[str, Any]:
        """Return the whole state in a form that JSON holds without loss."""
        # Kept until the next minute, because the state is written every second.
        if self._dumped is None:
            self._dumped = self._pack()
        return self._dumped

    def _pack(self) -> Mapping[str, Any]:
        return {
            "digest": self.digest,
            "minute": self._minute,
            "issued": [pack(issued) for issued in self._issued],
            "storms": [pack(turbulence) for turbulence in self._turbulence],
            "shares": [pack(shares.ravel()) for shares in self._shares],
            "counts": [list(counts) for counts in self._counts],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a state returned by `dump`; a state of another model is ignored."""
        # Residuals say nothing of the errors of another model.
        if state["digest"] == self.digest:
            # States of 1.0.0 have no minute.
            self._minute = state.get("minute")
            self._issued = [unpack(issued).tolist() for issued in state["issued"]]
            self._turbulence = [unpack(turbulence).tolist() for turbulence in state["storms"]]
            self._shares = [unpack(shares).reshape(2, -1) for shares in state["shares"]]
            self._counts = [list(counts) for counts in state["counts"]]
            self._own = [None] * len(HORIZON_MINUTES)


class VariantCalibrations:
    """Calibrations of one symbol by model variant: the serving model's and its shadow's."""

    __slots__ = ("_by_variant", "_stored")

    def __init__(self) -> None:
        self._by_variant: dict[str, Calibration] = {}
        # Restored states of variants whose model has not been seen yet.
        self._stored: dict[str, Any] = {}

    def get(self, variant: str, digest: str, laws: Sequence[ResidualLaws]) -> Calibration:
        """Return the calibration under a model, which starts from `laws` if the model is new."""
        known = self._by_variant.get(variant)
        if known is None or known.digest != digest:
            known = self._by_variant[variant] = Calibration(digest, laws)
            # Used once: pending forecasts in it are outdated by the time a model comes back.
            stored = self._stored.pop(variant, None)
            if stored is not None:
                known.restore(stored)
        return known

    def dump(self) -> Mapping[str, Any]:
        """Return the whole state in a form that JSON holds without loss."""
        known = {variant: calibration.dump() for variant, calibration in self._by_variant.items()}
        return {**self._stored, **known}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a state returned by `dump`, for use by the models that come."""
        self._stored = dict(state)
