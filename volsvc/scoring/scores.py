"""How our own forecasts turn out: frozen when issued, judged when their horizon is over.

Pure: no I/O and no clock. Forecasts are issued at the end of a minute of event time and joined with
what the market did in the minutes after it, so a symbol's scores depend on its own ticks and on the
models alone. Both variants are judged on the same moments, the one that serves and its shadow.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from volsvc.domain import NS, IssuedForecast, Outcome, format_time
from volsvc.domain.float_codec import pack, unpack
from volsvc.scoring.sequential_test import SequentialTest

# By horizon in minutes: every how many minutes a forecast is judged. Overlapping windows say
# little that is new, and what is pending has to fit into a record.
EVERY: Final[Mapping[int, int]] = {1: 1, 5: 1, 15: 5, 60: 15}
AHEADS: Final = tuple(EVERY)
DAY_MINUTES: Final = 1440
REFERENCE, FITTED = "baseline", "ml"
WINDOW_DAYS: Final = 7
_NUMBERS_FROM: Final = IssuedForecast._fields.index("sigma")


class Tally(NamedTuple):
    """Sums over judged forecasts; the mean of each is what is shown."""

    n: float = 0.0
    qlike: float = 0.0
    covered: float = 0.0
    brier: float = 0.0

    def plus(self, other: Iterable[float]) -> Tally:
        """Both together."""
        return Tally(*(mine + more for mine, more in zip(self, other, strict=True)))


class Pair(NamedTuple):
    """Sums of QLIKE of both variants over the forecasts that both have made."""

    n: float = 0.0
    reference: float = 0.0
    fitted: float = 0.0

    def plus(self, other: Iterable[float]) -> Pair:
        """Both together."""
        return Pair(*(mine + more for mine, more in zip(self, other, strict=True)))

    @property
    def ratio(self) -> float | None:
        """Mean QLIKE of the fitted model over that of the baseline; None without a pair."""
        return self.fitted / self.reference if self.n and self.reference else None


class DailySums:
    """Sums by day of event time over the last `days` days, today's included."""

    __slots__ = ("_days", "_sums", "_total")

    def __init__(self, days: int) -> None:
        self._days = days
        self._sums: dict[int, list[float]] = {}
        self._total: list[float] | None = None

    def add(self, minute: int, values: Sequence[float]) -> None:
        """Add values to the day of a minute; days that have left the window are dropped."""
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
        """The sums over the window, one for each of `width` values."""
        if self._total is None:
            days = self._sums.values()
            self._total = [math.fsum(day[at] for day in days) for at in range(width)]
        return self._total

    def dump(self) -> list[list[float]]:
        """The whole state, as JSON can carry it without loss."""
        return [[day, *sums] for day, sums in self._sums.items()]

    def restore(self, state: Iterable[Sequence[float]]) -> None:
        """Take over what `dump` gave."""
        self._total = None
        self._sums = {int(day): list(sums) for day, *sums in state}


def judge(issued: IssuedForecast, realised: float) -> Outcome:
    """A forecast against the realised variance of its horizon.

    QLIKE = RV/h - ln(RV/h) - 1 on variances; Brier is the squared error of the spike's probability.
    """
    ratio = realised / issued.sigma**2
    volatility = math.sqrt(realised)
    hit = float(volatility > issued.threshold)
    return Outcome(
        issued=issued,
        realised=volatility,
        qlike=ratio - math.log(ratio) - 1,
        covered=issued.lo <= volatility <= issued.hi,
        brier=(issued.score - hit) ** 2,
    )


class VariantScores:
    """What one model has said of one symbol and not been judged on yet, and how the rest went."""

    __slots__ = ("digest", "newest", "pending", "windows")

    def __init__(self, digest: str, days: int) -> None:
        self.digest = digest
        self.newest = ""
        self.pending: list[IssuedForecast] = []
        self.windows = [DailySums(days) for _ in AHEADS]

    def settle(self, minute: int, log_realised: Sequence[float]) -> list[Outcome]:
        """Judge what was to be judged at the end of a minute, and drop what no longer can be."""
        due = [f for f in self.pending if f.minute + f.ahead <= minute]
        if not due:
            return []
        self.pending = [f for f in self.pending if f.minute + f.ahead > minute]
        outcomes = []
        for issued in due:
            at = AHEADS.index(issued.ahead)
            if issued.minute + issued.ahead == minute and not math.isnan(log_realised[at]):
                outcome = judge(issued, math.exp(log_realised[at]))
                outcomes.append(outcome)
                sums = (1.0, outcome.qlike, float(outcome.covered), outcome.brier)
                self.windows[at].add(minute, sums)
        return outcomes

    def dump(self) -> Mapping[str, Any]:
        """The whole state, as JSON can carry it without loss."""
        return {
            "digest": self.digest,
            "newest": self.newest,
            "pending": [list(issued)[:_NUMBERS_FROM] for issued in self.pending],
            "said": pack([number for issued in self.pending for number in _numbers(issued)]),
            "windows": [window.dump() for window in self.windows],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `dump` gave."""
        self.newest = state["newest"]
        said = (
            unpack(state["said"]).reshape(-1, len(IssuedForecast._fields) - _NUMBERS_FROM).tolist()
        )
        self.pending = [
            IssuedForecast(*names, *numbers)
            for names, numbers in zip(state["pending"], said, strict=True)
        ]
        for window, stored in zip(self.windows, state["windows"], strict=True):
            window.restore(stored)


def _numbers(issued: IssuedForecast) -> Iterable[float]:
    return (issued.sigma, issued.lo, issued.hi, issued.threshold, issued.score)


class PairedScores:
    """The two variants on the same forecasts of one horizon: sums in the window, and evidence."""

    __slots__ = ("reached", "test", "window")

    def __init__(self, days: int) -> None:
        self.window = DailySums(days)
        self.test = SequentialTest()
        self.reached = -1

    def add(self, issued: IssuedForecast, minute: int, reference: float, fitted: float) -> None:
        """A pair of losses; only windows that do not overlap are evidence."""
        self.window.add(minute, (1.0, reference, fitted))
        if issued.minute >= self.reached:
            self.test.add(reference, fitted)
            self.reached = minute

    def dump(self) -> list[Any]:
        """The whole state, as JSON can carry it without loss."""
        return [self.reached, self.window.dump(), self.test.dump()]

    def restore(self, state: Sequence[Any]) -> None:
        """Take over what `dump` gave."""
        self.reached = state[0]
        self.window.restore(state[1])
        self.test.restore(state[2])


class SymbolScores:
    """Scores of one symbol: a book for each variant, and the two against each other."""

    __slots__ = ("_days", "_dumped", "_symbol", "by_variant", "paired")

    def __init__(self, symbol: str, days: int = WINDOW_DAYS) -> None:
        self._symbol = symbol
        self._days = days
        self.by_variant: dict[str, VariantScores] = {}
        self.paired = [PairedScores(days) for _ in AHEADS]
        self._dumped: Mapping[str, Any] | None = None

    def scores(self, variant: str, digest: str) -> VariantScores:
        """A variant's book; another model of the variant begins a new one."""
        scores = self.by_variant.get(variant)
        if scores is None or scores.digest != digest:
            if scores is not None:
                self.paired = [PairedScores(self._days) for _ in AHEADS]
            scores = self.by_variant[variant] = VariantScores(digest, self._days)
        return scores

    def due(self, minute: int) -> list[int]:
        """The horizons, as places in AHEADS, of which a forecast is issued at a minute's end."""
        return [at for at, ahead in enumerate(AHEADS) if (minute + 1) % EVERY[ahead] == 0]

    def issue(
        self, variant: str, digest: str, version: str, issued: Iterable[IssuedForecast]
    ) -> None:
        """Freeze what a model said at the end of a minute."""
        self._dumped = None
        scores = self.scores(variant, digest)
        scores.pending += issued
        scores.newest = prediction_id(self._symbol, scores.pending[-1].minute, variant, version)

    def settle(self, minute: int, log_realised: Sequence[float]) -> list[Outcome]:
        """Judge every variant at the end of a minute; `log_realised` is ln RV up to then."""
        self._dumped = None
        outcomes: list[Outcome] = []
        for scores in self.by_variant.values():
            outcomes += scores.settle(minute, log_realised)
        self._compare(minute, outcomes)
        return outcomes

    def _compare(self, minute: int, outcomes: Sequence[Outcome]) -> None:
        losses = {(o.issued.variant, o.issued.ahead): o for o in outcomes}
        for at, ahead in enumerate(AHEADS):
            reference, fitted = losses.get((REFERENCE, ahead)), losses.get((FITTED, ahead))
            if reference is not None and fitted is not None:
                self.paired[at].add(fitted.issued, minute, reference.qlike, fitted.qlike)

    def id_of(self, variant: str) -> str | None:
        """The id of the newest forecast that a variant has issued; None before the first."""
        scores = self.by_variant.get(variant)
        return scores.newest or None if scores is not None else None

    def tally(self, variant: str, at: int) -> Tally:
        """How a variant's forecasts turned out in the window, at a place in AHEADS."""
        scores = self.by_variant.get(variant)
        return Tally(*scores.windows[at].total(4)) if scores is not None else Tally()

    def pair(self, at: int) -> Pair:
        """Both variants on the same forecasts in the window, at a place in AHEADS."""
        return Pair(*self.paired[at].window.total(3))

    def dump(self) -> Mapping[str, Any]:
        """The whole state, as JSON can carry it without loss; it changes with the minute."""
        if self._dumped is None:
            self._dumped = {
                "books": {variant: scores.dump() for variant, scores in self.by_variant.items()},
                "versus": [paired.dump() for paired in self.paired],
            }
        return self._dumped

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `dump` gave."""
        self._dumped = None
        for variant, stored in state["books"].items():
            scores = self.by_variant[variant] = VariantScores(stored["digest"], self._days)
            scores.restore(stored)
        for paired, kept in zip(self.paired, state["versus"], strict=True):
            paired.restore(kept)


def prediction_id(symbol: str, minute: int, variant: str, version: str) -> str:
    """The name of what a model said of a symbol at the end of a minute since the epoch."""
    return f"{symbol}/{format_time((minute + 1) * 60 * NS)}/{variant}-{version}"
