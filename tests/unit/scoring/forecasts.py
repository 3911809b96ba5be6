"""Issued forecasts for tests of scores."""

from __future__ import annotations

from volsvc.domain import HORIZON_MINUTES, IssuedForecast
from volsvc.scoring.scores import SymbolScores

# Minutes from the epoch to 2026-01-05.
START = 29_459_520


def forecast(
    variant: str, minute: int, horizon: int, sigma: float = 1e-3, **more: float
) -> IssuedForecast:
    """Return a forecast of a horizon in minutes; `more` replaces its other numbers."""
    numbers = {"lo": sigma / 2, "hi": sigma * 2, "threshold": sigma * 1.5, "score": 0.1, **more}
    return IssuedForecast(variant, "1", minute, horizon, sigma, **numbers)


def issue(scores: SymbolScores, minute: int, sigmas: dict[str, float]) -> None:
    """Issue the forecasts that are due at the end of a minute, one sigma per variant."""
    for variant, sigma in sigmas.items():
        due = scores.horizons_due(minute)
        issued = [forecast(variant, minute, HORIZON_MINUTES[index], sigma) for index in due]
        scores.issue(variant, variant, "1", issued)
