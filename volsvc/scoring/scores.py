"""Scores of issued forecasts: kept until their horizon has passed, then compared with the outcome.

Pure: no I/O and no clock. Forecasts are issued at the end of a minute of event time and scored by
the minutes that follow, so the scores of a symbol depend on its own ticks and on the models alone.
The serving model and its shadow are scored on the same forecasts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from volsvc.domain import HORIZON_MINUTES, NS, IssuedForecast, Outcome, format_time
from volsvc.domain.float_codec import pack, unpack
from volsvc.scoring.sequential_test import SequentialTest

# Minutes from one scored forecast to the next, by horizon in minutes. Overlapping horizons add
# little information, and the pending forecasts are part of every record of the features topic.
ISSUE_EVERY: Final[Mapping[int, int]] = {1: 1, 5: 1, 15: 5, 60: 15}
DAY_MINUTES: Final = 1440
REFERENCE, FITTED = "baseline", "ml"
WINDOW_DAYS: Final = 7
# Fields from here on are numbers, which a dump packs.
_NUMBERS_FROM: Final = IssuedForecast._fields.index("sigma")


class LossSums(NamedTuple):
    """Sums over matured forecasts: their number, QLIKE, covered outcomes and Brier score."""

    n: float = 0.0
    qlike: float = 0.0
    covered: float = 0.0
    brier: float = 0.0

    def plus(self, other: Iterable[float]) -> LossSums:
        """Return the sums over both sets of forecasts."""
        return LossSums(*(mine + more for mine, more in zip(self, other, strict=True)))


class PairedLosses(NamedTuple):
    """Sums of QLIKE of both variants over the `n` outcomes that both have forecast."""

    n: float = 0.0
    reference: float = 0.0
    fitted: float = 0.0

    def plus(self, other: Iterable[float]) -> PairedLosses:
        """Return the sums over both sets of forecasts."""
        return PairedLosses(*(mine + more for mine, more in zip(self, other, strict=True)))

    @property
    def ratio(self) -> float | None:
        """Mean QLIKE of the fitted model relative to the baseline's; None without forecasts."""
        return self.fitted / self.reference if self.n and self.reference else None


class DailySums:
    """Sums over the last `days` days of event time, the current day included."""

    __slots__ = ("_days", "_sums", "_total")

    def __init__(self, days: int) -> None:
        self._days = days
        self._sums: dict[int, list[float]] = {}
        self._total: list[float] | None = None

    def add(self, minute: int, values: Sequence[float]) -> None:
        """Add values to the day of a minute, and drop the days that have left the window."""
        self._total = None
        day = minute // DAY_MINUTES
        sums = self._sums.get(day)
        if sums is None:
            kept = {d: s for d, s in self._sums.items() if d > day - self._days}
            self._sums = {**kept, day: list(values)}
            return
        for index, value in enumerate(values):
            sums[index] += value

    def total(self, width: int) -> list[float]:
        """Return the sums over the window, one for each of `width` values."""
        if self._total is None:
            days = self._sums.values()
            self._total = [math.fsum(day[index] for day in days) for index in range(width)]
        return self._total

    def dump(self) -> list[list[float]]:
        """Return the whole state in a form that JSON holds without loss."""
        return [[day, *sums] for day, sums in self._sums.items()]

    def restore(self, state: Iterable[Sequence[float]]) -> None:
        """Restore a state returned by `dump`."""
        self._total = None
        self._sums = {int(day): list(sums) for day, *sums in state}


def evaluate(issued: IssuedForecast, realised: float) -> Outcome:
    """Compare a forecast with the realised variance of its horizon.

    QLIKE is RV/h - ln(RV/h) - 1 on variances (Patton 2011); the Brier score is the squared error of
    the spike probability.
    """
    ratio = realised / issued.sigma**2
    volatility = math.sqrt(realised)
    spike = float(volatility > issued.threshold)
    return Outcome(
        issued=issued,
        realised=volatility,
        qlike=ratio - math.log(ratio) - 1,
        covered=issued.lo <= volatility <= issued.hi,
        brier=(issued.score - spike) ** 2,
    )


class VariantScores:
    """Pending forecasts of one model for one symbol, and loss sums of the matured ones."""

    __slots__ = ("digest", "newest_id", "pending", "sums")

    def __init__(self, digest: str, days: int) -> None:
        self.digest = digest
        self.newest_id: str | None = None
        self.pending: list[IssuedForecast] = []
        self.sums = [DailySums(days) for _ in HORIZON_MINUTES]

    def mature(self, minute: int, log_realised: Sequence[float]) -> list[Outcome]:
        """Score the forecasts that mature at the end of a minute.

        Those whose horizon ended earlier, or was not observed in full, are dropped.
        """
        # A gap of the feed skips minutes, and with them the end of some horizons.
        due = [f for f in self.pending if f.minute + f.horizon_minutes == minute]
        self.pending = [f for f in self.pending if f.minute + f.horizon_minutes > minute]
        outcomes = []
        for issued in due:
            index = HORIZON_MINUTES.index(issued.horizon_minutes)
            if not math.isnan(log_realised[index]):
                outcome = evaluate(issued, math.exp(log_realised[index]))
                outcomes.append(outcome)
                losses = (1.0, outcome.qlike, float(outcome.covered), outcome.brier)
                self.sums[index].add(minute, losses)
        return outcomes

    def dump(self) -> Mapping[str, Any]:
        """Return the whole state in a form that JSON holds without loss."""
        return {
            "digest": self.digest,
            "newest": self.newest_id,
            "pending": [list(issued)[:_NUMBERS_FROM] for issued in self.pending],
            "said": pack([number for issued in self.pending for number in _numbers(issued)]),
            "windows": [sums.dump() for sums in self.sums],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a state returned by `dump`."""
        self.newest_id = state["newest"]
        width = len(IssuedForecast._fields) - _NUMBERS_FROM
        rows = unpack(state["said"]).reshape(-1, width).tolist()
        self.pending = [
            IssuedForecast(*names, *numbers)
            for names, numbers in zip(state["pending"], rows, strict=True)
        ]
        for sums, stored in zip(self.sums, state["windows"], strict=True):
            sums.restore(stored)


def _numbers(issued: IssuedForecast) -> Iterable[float]:
    return (issued.sigma, issued.lo, issued.hi, issued.threshold, issued.score)


class PairedScores:
    """Losses of both variants on the same outcomes of one horizon, and the test between them."""

    __slots__ = ("_tested_until", "sums", "test")

    def __init__(self, days: int) -> None:
        self.sums = DailySums(days)
        self.test = SequentialTest()
        self._tested_until = 0

    def add(self, issued: IssuedForecast, minute: int, reference: float, fitted: float) -> None:
        """Add the losses of both variants on the outcome of a forecast that matured at `minute`."""
        self.sums.add(minute, (1.0, reference, fitted))
        # The test is valid for horizons that do not overlap.
        if issued.minute >= self._tested_until:
            self.test.add(reference, fitted)
            self._tested_until = minute

    def dump(self) -> list[Any]:
        """Return the whole state in a form that JSON holds without loss."""
        return [self._tested_until, self.sums.dump(), self.test.dump()]

    def restore(self, state: Sequence[Any]) -> None:
        """Restore a state returned by `dump`."""
        self._tested_until = state[0]
        self.sums.restore(state[1])
        self.test.restore(state[2])


class SymbolScores:
    """Scores of one symbol: those of each variant, and the comparison of the two."""

    __slots__ = ("_days", "_dumped", "_symbol", "by_variant", "paired")

    def __init__(self, symbol: str, days: int = WINDOW_DAYS) -> None:
        self._symbol = symbol
        self._days = days
        self.by_variant: dict[str, VariantScores] = {}
        self.paired = [PairedScores(days) for _ in HORIZON_MINUTES]
        self._dumped: Mapping[str, Any] | None = None

    def scores(self, variant: str, digest: str) -> VariantScores:
        """Return the scores of a variant, which are new if its model has changed."""
        scores = self.by_variant.get(variant)
        if scores is None or scores.digest != digest:
            if scores is not None:
                # A comparison with the previous model does not apply to the new one.
                self.paired = [PairedScores(self._days) for _ in HORIZON_MINUTES]
            scores = self.by_variant[variant] = VariantScores(digest, self._days)
        return scores

    def horizons_due(self, minute: int) -> list[int]:
        """Return the indices in HORIZON_MINUTES of the forecasts to issue after a minute."""
        return [
            index
            for index, horizon in enumerate(HORIZON_MINUTES)
            if (minute + 1) % ISSUE_EVERY[horizon] == 0
        ]

    def issue(
        self, variant: str, digest: str, version: str, issued: Iterable[IssuedForecast]
    ) -> None:
        """Keep the forecasts that a model issued at the end of a minute until they mature."""
        self._dumped = None
        scores = self.scores(variant, digest)
        scores.pending += issued
        scores.newest_id = prediction_id(self._symbol, scores.pending[-1].minute, variant, version)

    def mature(self, minute: int, log_realised: Sequence[float]) -> list[Outcome]:
        """Score the forecasts of all variants that mature at the end of a minute.

        `log_realised` is ln of the realised variance over each of HORIZON_MINUTES up to that time,
        NaN where it was not observed in full.
        """
        self._dumped = None
        outcomes: list[Outcome] = []
        for scores in self.by_variant.values():
            outcomes += scores.mature(minute, log_realised)
        self._compare(minute, outcomes)
        return outcomes

    def _compare(self, minute: int, outcomes: Sequence[Outcome]) -> None:
        matured = {(o.issued.variant, o.issued.horizon_minutes): o for o in outcomes}
        for index, horizon in enumerate(HORIZON_MINUTES):
            reference, fitted = matured.get((REFERENCE, horizon)), matured.get((FITTED, horizon))
            if reference is not None and fitted is not None:
                self.paired[index].add(fitted.issued, minute, reference.qlike, fitted.qlike)

    def newest_prediction_id(self, variant: str) -> str | None:
        """Return the id of the newest forecast issued by a variant; None before the first."""
        scores = self.by_variant.get(variant)
        return scores.newest_id if scores is not None else None

    def loss_sums(self, variant: str, index: int) -> LossSums:
        """Return the sums of a variant over the window, at an index of HORIZON_MINUTES."""
        scores = self.by_variant.get(variant)
        return LossSums(*scores.sums[index].total(4)) if scores is not None else LossSums()

    def paired_losses(self, index: int) -> PairedLosses:
        """Return the sums of both variants over the window, at an index of HORIZON_MINUTES."""
        return PairedLosses(*self.paired[index].sums.total(3))

    def dump(self) -> Mapping[str, Any]:
        """Return the whole state in a form that JSON holds without loss."""
        # Kept until the next minute, because the state is written every second.
        if self._dumped is None:
            self._dumped = {
                "books": {variant: scores.dump() for variant, scores in self.by_variant.items()},
                "versus": [paired.dump() for paired in self.paired],
            }
        return self._dumped

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a state returned by `dump`."""
        self._dumped = None
        for variant, stored in state["books"].items():
            scores = self.by_variant[variant] = VariantScores(stored["digest"], self._days)
            scores.restore(stored)
        for paired, kept in zip(self.paired, state["versus"], strict=True):
            paired.restore(kept)


def prediction_id(symbol: str, minute: int, variant: str, version: str) -> str:
    """Return the id of the forecast that a model issued for a symbol at the end of a minute.

    `minute` counts from the epoch.
    """
    return f"{symbol}/{format_time((minute + 1) * 60 * NS)}/{variant}-{version}"
