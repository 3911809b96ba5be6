"""Symbols with matured forecasts of known scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from volsvc.config.settings import FeatureSettings
from volsvc.domain import HORIZON_MINUTES
from volsvc.features import SymbolTable
from volsvc.models import packaged
from volsvc.scoring import scores
from volsvc.scoring.scores import FITTED, MAX_PENDING, OUTCOME, VARIANTS

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

    def score(self, table: SymbolTable, minute: int, digest: str) -> None:
        """Have the forecasts issued at the end of a minute and mature in time."""
        row = table.row(self.symbol)
        record, daily = table.records[row].learnt.scores, table.daily[row]
        for variant, sigma in self.sigmas.items():
            place = VARIANTS.index(variant)
            model = scores.digest_bytes(digest if variant == FITTED else "")
            version = scores.version_bytes("1")
            scores.adopt(record, daily, place, np.frombuffer(model, np.uint8), version)
            numbers = np.array([sigma, sigma / 2, sigma * 2, sigma * 1.5, SCORE])
            scores.issue(record, place, minute, HORIZON_MINUTES.index(self.horizon), numbers)
        log_realised = np.full(len(HORIZON_MINUTES), 2 * math.log(self.realised))
        outcomes = np.zeros(MAX_PENDING * len(VARIANTS), OUTCOME)
        scores.mature(record, daily, minute + self.horizon, log_realised, outcomes)


def scored_table(
    symbols: Sequence[str], outcomes: Sequence[Judged], digest: str = MODEL.digest
) -> SymbolTable:
    """Return a table of these symbols; the fitted model of the outcomes has this digest."""
    table = SymbolTable(FeatureSettings())
    for symbol in symbols:
        minute = START
        table.row_for(symbol, 0)
        for outcome in outcomes:
            if outcome.symbol == symbol:
                outcome.score(table, minute, digest)
                minute += outcome.horizon
    return table
