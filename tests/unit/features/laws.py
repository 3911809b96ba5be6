"""Residual laws for tests."""

from __future__ import annotations

import numpy as np

from volsvc.features import HORIZON_MINUTES, ResidualLaws


def normal_laws() -> list[ResidualLaws]:
    """Return laws of normal residuals, with mean -0.3 and deviation 1, one per horizon."""
    rng = np.random.default_rng(1)
    residuals, turbulence = rng.normal(-0.3, 1.0, 20_000), rng.uniform(0, 1, 20_000)
    return [ResidualLaws.of_residuals(residuals, turbulence) for _ in HORIZON_MINUTES]
