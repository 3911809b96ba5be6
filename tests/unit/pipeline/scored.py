"""Symbols with matured forecasts of known scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from volsvc.config.settings import FeatureSettings
from volsvc.domain import HORIZON_MINUTES, IssuedForecast
from volsvc.features import SymbolState, SymbolTable
from volsvc.models import packaged
from volsvc.scoring.scores import FITTED

# Minutes from the epoch to 2026-01-05.
START: Final = 29_459_520
MODEL: Final = packaged().model
SCORE: Final = 0.1


class Judged(NamedTuple):
    """An outcome of a symbol over so many minutes, and what each variant had forecast."""

    symbol: str
    horizon: int
    realised: float
    sigmas: Mapping[str, float]

    def qlike(self, variant: str) -> float:
        """Return QLIKE of a variant's forecast."""
        ratio = (self.realised / self.sigmas[variant]) ** 2
        return ratio - math.log(ratio) - 1

    def covered(self, variant: str) -> bool:
        """Return whether the outcome is inside the interval."""
        return self.sigmas[variant] / 2 <= self.realised <= self.sigmas[variant] * 2

    def brier(self, variant: str) -> float:
        """Return the squared error of the probability of a spike."""
        return (SCORE - (self.realised > self.sigmas[variant] * 1.5)) ** 2

    def score(self, state: SymbolState, minute: int, digest: str) -> None:
        """Have the forecasts issued at the end of a minute and mature in time."""
        for variant, sigma in self.sigmas.items():
            numbers = (sigma, sigma / 2, sigma * 2, sigma * 1.5, SCORE)
            issued = IssuedForecast(variant, "1", minute, self.horizon, *numbers)
            state.scores.issue(variant, digest if variant == FITTED else "", "1", [issued])
        log_realised = [2 * math.log(self.realised)] * len(HORIZON_MINUTES)
        state.scores.mature(minute + self.horizon, log_realised)


def scored_table(
    symbols: Sequence[str], outcomes: Sequence[Judged], digest: str = MODEL.digest
) -> SymbolTable:
    """Return a table of these symbols; the fitted model of the outcomes has this digest."""
    table = SymbolTable(FeatureSettings())
    for symbol in symbols:
        state, minute = table.state_for(symbol, 0), START
        for outcome in outcomes:
            if outcome.symbol == symbol:
                outcome.score(state, minute, digest)
                minute += outcome.horizon
    return table
