"""Issued forecasts for tests of scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from volsvc.domain import HORIZON_MINUTES, IssuedForecast, Outcome
from volsvc.scoring import scores
from volsvc.scoring.scores import (
    DAILY_WIDTH,
    DIGEST_BYTES,
    ISSUED,
    MAX_PENDING,
    NUMBERS,
    OUTCOME,
    SCORES,
    VARIANTS,
    WINDOW_DAYS,
    SymbolScores,
    digest_bytes,
    outcome_of,
    version_bytes,
)

# Minutes from the epoch to 2026-01-05.
START = 29_459_520


class Scores(SymbolScores):
    """The scores of a symbol without a table: they have a record and daily sums of their own."""

    def __init__(self, symbol: str = "X", days: int = WINDOW_DAYS) -> None:
        self.symbol = symbol
        self._records = np.zeros(1, SCORES)
        self.record: Any = self._records[0]
        scores.start(self.record)
        self.daily = np.zeros((days, DAILY_WIDTH))
        self._matured = np.zeros(MAX_PENDING * len(VARIANTS), OUTCOME)
        super().__init__(symbol, self.record, self.daily)

    def adopt(self, variant: str, digest: str, version: str = "1") -> None:
        """Have the scores of a variant be those of a model."""
        kept = np.frombuffer(digest_bytes(digest), np.uint8, DIGEST_BYTES)
        place = VARIANTS.index(variant)
        scores.adopt(self.record, self.daily, place, kept, version_bytes(version))

    def issue(
        self, variant: str, digest: str, version: str, issued: Iterable[IssuedForecast]
    ) -> None:
        """Keep the forecasts that a model issued at the end of a minute until they mature."""
        self.adopt(variant, digest, version)
        for one in issued:
            numbers = np.array([getattr(one, name) for name in NUMBERS])
            place, horizon = VARIANTS.index(variant), HORIZON_MINUTES.index(one.horizon_minutes)
            scores.issue(self.record, place, one.minute, horizon, numbers)

    def issue_due(self, minute: int, sigmas: Mapping[str, float]) -> None:
        """Issue the forecasts that are due at the end of a minute, one sigma per variant."""
        for variant, sigma in sigmas.items():
            issued = [forecast(variant, minute, horizon, sigma) for horizon in due(minute)]
            self.issue(variant, variant, "1", issued)

    def mature(self, minute: int, log_realised: Sequence[float]) -> list[Outcome]:
        """Score the forecasts that mature at the end of a minute."""
        logs = np.array(log_realised)
        count = scores.mature(self.record, self.daily, minute, logs, self._matured)
        return [outcome_of(one, self.symbol) for one in self._matured[:count]]

    def pending(self, variant: str) -> list[tuple[int, int]]:
        """Return minute and horizon in minutes of the forecasts of a variant that wait."""
        kept = self.record.variants[VARIANTS.index(variant)]
        waiting = kept.issued[: kept.pending].tolist()
        return [(minute, HORIZON_MINUTES[horizon]) for minute, horizon, *_ in waiting]

    def stored(self) -> tuple[bytes, bytes]:
        """Return the whole state as bytes."""
        return self.record.tobytes(), self.daily.tobytes()

    def restarted(self) -> Scores:
        """Return new scores, restored from the bytes of these."""
        record, daily = self.stored()
        again = Scores(self.symbol, len(self.daily))
        again._records[:] = np.frombuffer(record, SCORES)
        again.daily[:] = np.frombuffer(daily).reshape(again.daily.shape)
        return again


def due(minute: int) -> list[int]:
    """Return the horizons in minutes of the forecasts to issue after a minute."""
    return [ahead for index, ahead in enumerate(HORIZON_MINUTES) if scores.is_due(minute, index)]


def forecast(
    variant: str, minute: int, horizon: int, sigma: float = 1e-3, **more: float
) -> IssuedForecast:
    """Return a forecast of a horizon in minutes; `more` replaces its other numbers."""
    numbers = {"lo": sigma / 2, "hi": sigma * 2, "threshold": sigma * 1.5, "score": 0.1, **more}
    return IssuedForecast("X", variant, "1", minute, horizon, sigma, **numbers)


def evaluate(issued: IssuedForecast, realised: float) -> Outcome:
    """Compare a forecast with the realised variance of its horizon."""
    record, outcome = np.zeros(1, ISSUED)[0], np.zeros(1, OUTCOME)[0]
    record.minute = issued.minute
    record.horizon = HORIZON_MINUTES.index(issued.horizon_minutes)
    for name in NUMBERS:
        record[name] = getattr(issued, name)
    scores.evaluate(record, realised, outcome)
    outcome.variant = VARIANTS.index(issued.variant)
    outcome.version[:] = version_bytes(issued.version)
    return outcome_of(outcome, issued.symbol)
