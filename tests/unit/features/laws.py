"""Residual laws for tests, and calibrations that start from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from volsvc.features import HORIZON_MINUTES, ResidualLaws
from volsvc.features.kernels import calibration
from volsvc.models.symbol_forecasts import symbol_laws


def normal_laws() -> list[ResidualLaws]:
    """Return laws of normal residuals, with mean -0.3 and deviation 1, one per horizon."""
    rng = np.random.default_rng(1)
    residuals, turbulence = rng.normal(-0.3, 1.0, 20_000), rng.uniform(0, 1, 20_000)
    return [ResidualLaws.of_residuals(residuals, turbulence) for _ in HORIZON_MINUTES]


class Calibrated:
    """The calibration of a symbol under a model, and the laws that it started from."""

    def __init__(
        self, digest: str, laws: Sequence[ResidualLaws] | None = None, record: Any = None
    ) -> None:
        """Start anew unless `record` (CALIBRATION) is the state under this model."""
        self.pooled = symbol_laws(digest, laws or normal_laws())[0]
        self.record = np.zeros(1, calibration.CALIBRATION)[0] if record is None else record
        calibration.adopt(self.record, self.pooled)

    def add_realised(self, minute: int, logs: Sequence[float]) -> None:
        """Learn from the forecasts whose horizons end with a minute."""
        calibration.add_realised(self.record, self.pooled, minute, np.array(logs, np.float64))

    def issue(self, minute: int, logs: Sequence[float], turbulences: Sequence[float]) -> None:
        """Keep the forecasts made at the end of a minute."""
        for index, (log, turbulence) in enumerate(zip(logs, turbulences, strict=True)):
            calibration.issue(self.record, minute, index, log, turbulence)

    @property
    def own(self) -> bool:
        """True if the symbol's own residuals outweigh the pooled law at every horizon."""
        return bool(calibration.is_own(self.record))

    def cumulated(self, index: int) -> np.ndarray:
        """Return the probabilities of both laws at a horizon, of shape (2, levels)."""
        return np.asarray(self.record.cumulated[index])

    def pending(self, name: str) -> list[np.ndarray]:
        """Return `issued` or `turbulence` of the pending forecasts, by horizon."""
        return np.split(self.record[name], np.cumsum(HORIZON_MINUTES)[:-1])
