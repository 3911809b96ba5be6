"""How our own forecasts turn out: frozen when issued, judged when their horizon is over.

Pure: no I/O and no clock. Forecasts are issued at the end of a minute of event time and joined with
what the market did in the minutes after it, so a symbol's scores depend on its own ticks and on the
models alone. Both variants are judged on the same moments, the one that serves and its shadow.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from volsvc.domain import NS, Frozen, Outcome, format_time
from volsvc.evidence import Evidence
from volsvc.packing import pack, unpack

EVERY: Final[Mapping[int, int]] = {1: 1, 5: 1, 15: 5, 60: 15}
"""By horizon in minutes: every how many minutes a forecast is judged. Overlapping windows say
little that is new, and what is pending has to fit into a record."""
AHEADS: Final = tuple(EVERY)
DAY_MINUTES: Final = 1440
REFERENCE, FITTED = "baseline", "ml"
WINDOW_DAYS: Final = 7
_NUMBERS_FROM: Final = Frozen._fields.index("sigma")


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


class Window:
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


def judge(frozen: Frozen, realised: float) -> Outcome:
    """A forecast against the realised variance of its horizon.

    QLIKE = RV/h - ln(RV/h) - 1 on variances; Brier is the squared error of the spike's probability.
    """
    ratio = realised / frozen.sigma**2
    volatility = math.sqrt(realised)
    hit = float(volatility > frozen.threshold)
    return Outcome(
        frozen=frozen,
        realised=volatility,
        qlike=ratio - math.log(ratio) - 1,
        covered=frozen.lo <= volatility <= frozen.hi,
        brier=(frozen.score - hit) ** 2,
    )


class Book:
    """What one model has said of one symbol and not been judged on yet, and how the rest went."""

    __slots__ = ("digest", "newest", "pending", "windows")

    def __init__(self, digest: str, days: int) -> None:
        self.digest = digest
        self.newest = ""
        self.pending: list[Frozen] = []
        self.windows = [Window(days) for _ in AHEADS]

    def settle(self, minute: int, log_realised: Sequence[float]) -> list[Outcome]:
        """Judge what was to be judged at the end of a minute, and drop what no longer can be."""
        due = [f for f in self.pending if f.minute + f.ahead <= minute]
        if not due:
            return []
        self.pending = [f for f in self.pending if f.minute + f.ahead > minute]
        outcomes = []
        for frozen in due:
            at = AHEADS.index(frozen.ahead)
            if frozen.minute + frozen.ahead == minute and not math.isnan(log_realised[at]):
                outcome = judge(frozen, math.exp(log_realised[at]))
                outcomes.append(outcome)
                sums = (1.0, outcome.qlike, float(outcome.covered), outcome.brier)
                self.windows[at].add(minute, sums)
        return outcomes

    def dump(self) -> Mapping[str, Any]:
        """The whole state, as JSON can carry it without loss."""
        return {
            "digest": self.digest,
            "newest": self.newest,
            "pending": [list(frozen)[:_NUMBERS_FROM] for frozen in self.pending],
            "said": pack([number for frozen in self.pending for number in _numbers(frozen)]),
            "windows": [window.dump() for window in self.windows],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `dump` gave."""
        self.newest = state["newest"]
        said = unpack(state["said"]).reshape(-1, len(Frozen._fields) - _NUMBERS_FROM).tolist()
        self.pending = [
            Frozen(*names, *numbers) for names, numbers in zip(state["pending"], said, strict=True)
        ]
        for window, stored in zip(self.windows, state["windows"], strict=True):
            window.restore(stored)


def _numbers(frozen: Frozen) -> Iterable[float]:
    return (frozen.sigma, frozen.lo, frozen.hi, frozen.threshold, frozen.score)


class Versus:
    """The two variants on the same forecasts of one horizon: sums in the window, and evidence."""

    __slots__ = ("evidence", "reached", "window")

    def __init__(self, days: int) -> None:
        self.window = Window(days)
        self.evidence = Evidence()
        self.reached = -1

    def add(self, frozen: Frozen, minute: int, reference: float, fitted: float) -> None:
        """A pair of losses; only windows that do not overlap are evidence."""
        self.window.add(minute, (1.0, reference, fitted))
        if frozen.minute >= self.reached:
            self.evidence.add(reference, fitted)
            self.reached = minute

    def dump(self) -> list[Any]:
        """The whole state, as JSON can carry it without loss."""
        return [self.reached, self.window.dump(), self.evidence.dump()]

    def restore(self, state: Sequence[Any]) -> None:
        """Take over what `dump` gave."""
        self.reached = state[0]
        self.window.restore(state[1])
        self.evidence.restore(state[2])


class SymbolScores:
    """Scores of one symbol: a book for each variant, and the two against each other."""

    __slots__ = ("_days", "_dumped", "_symbol", "books", "versus")

    def __init__(self, symbol: str, days: int = WINDOW_DAYS) -> None:
        self._symbol = symbol
        self._days = days
        self.books: dict[str, Book] = {}
        self.versus = [Versus(days) for _ in AHEADS]
        self._dumped: Mapping[str, Any] | None = None

    def book(self, variant: str, digest: str) -> Book:
        """A variant's book; another model of the variant begins a new one."""
        book = self.books.get(variant)
        if book is None or book.digest != digest:
            if book is not None:
                self.versus = [Versus(self._days) for _ in AHEADS]
            book = self.books[variant] = Book(digest, self._days)
        return book

    def due(self, minute: int) -> list[int]:
        """The horizons, as places in AHEADS, of which a forecast is issued at a minute's end."""
        return [at for at, ahead in enumerate(AHEADS) if (minute + 1) % EVERY[ahead] == 0]

    def issue(self, variant: str, digest: str, version: str, frozen: Iterable[Frozen]) -> None:
        """Freeze what a model said at the end of a minute."""
        self._dumped = None
        book = self.book(variant, digest)
        book.pending += frozen
        book.newest = prediction_id(self._symbol, book.pending[-1].minute, variant, version)

    def settle(self, minute: int, log_realised: Sequence[float]) -> list[Outcome]:
        """Judge every variant at the end of a minute; `log_realised` is ln RV up to then."""
        self._dumped = None
        outcomes: list[Outcome] = []
        for book in self.books.values():
            outcomes += book.settle(minute, log_realised)
        self._compare(minute, outcomes)
        return outcomes

    def _compare(self, minute: int, outcomes: Sequence[Outcome]) -> None:
        losses = {(o.frozen.variant, o.frozen.ahead): o for o in outcomes}
        for at, ahead in enumerate(AHEADS):
            reference, fitted = losses.get((REFERENCE, ahead)), losses.get((FITTED, ahead))
            if reference is not None and fitted is not None:
                self.versus[at].add(fitted.frozen, minute, reference.qlike, fitted.qlike)

    def id_of(self, variant: str) -> str | None:
        """The id of the newest forecast that a variant has issued; None before the first."""
        book = self.books.get(variant)
        return book.newest or None if book is not None else None

    def tally(self, variant: str, at: int) -> Tally:
        """How a variant's forecasts turned out in the window, at a place in AHEADS."""
        book = self.books.get(variant)
        return Tally(*book.windows[at].total(4)) if book is not None else Tally()

    def pair(self, at: int) -> Pair:
        """Both variants on the same forecasts in the window, at a place in AHEADS."""
        return Pair(*self.versus[at].window.total(3))

    def dump(self) -> Mapping[str, Any]:
        """The whole state, as JSON can carry it without loss; it changes with the minute."""
        if self._dumped is None:
            self._dumped = {
                "books": {variant: book.dump() for variant, book in self.books.items()},
                "versus": [versus.dump() for versus in self.versus],
            }
        return self._dumped

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `dump` gave."""
        self._dumped = None
        for variant, stored in state["books"].items():
            book = self.books[variant] = Book(stored["digest"], self._days)
            book.restore(stored)
        for versus, kept in zip(self.versus, state["versus"], strict=True):
            versus.restore(kept)


def prediction_id(symbol: str, minute: int, variant: str, version: str) -> str:
    """The name of what a model said of a symbol at the end of a minute since the epoch."""
    return f"{symbol}/{format_time((minute + 1) * 60 * NS)}/{variant}-{version}"


@dataclass(slots=True)
class Guard:
    """Whether the fitted model may serve: it is stopped above `ratio`, and let back at 1.

    The distance between the two is what keeps it from flapping. After an operator has overruled it,
    it is silent until the model has been no worse than the baseline once.
    """

    ratio: float
    least: int
    stopped: bool = False
    overruled: bool = False

    def judge(self, pair: Pair) -> str | None:
        """`stop`, `return` or nothing, by the forecasts of the window."""
        ratio = pair.ratio
        if ratio is None or pair.n < self.least:
            return None
        if ratio <= 1.0:
            returned, self.stopped, self.overruled = self.stopped, False, False
            return "return" if returned else None
        if ratio > self.ratio and not self.stopped and not self.overruled:
            self.stopped = True
            return "stop"
        return None

    def overrule(self) -> None:
        """The operator wants the fitted model all the same."""
        self.overruled = self.overruled or self.stopped
        self.stopped = False

    def begin(self) -> None:
        """Another fitted model: nothing is held against it."""
        self.stopped = self.overruled = False
