"""Scores of issued forecasts: kept until their horizon has passed, then compared with the outcome.

Pure: no I/O and no clock. Forecasts are issued at the end of a minute of event time and scored by
the minutes that follow, so the scores of a symbol depend on its own ticks and on the models alone.
The serving model and its shadow are scored on the same forecasts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from volsvc.compiled import kernel, record_type
from volsvc.domain import HORIZON_MINUTES, NS, IssuedForecast, Outcome, format_time
from volsvc.scoring import sequential_test

# Minutes from one scored forecast to the next, by horizon in minutes. Overlapping horizons add
# little information, and the pending forecasts are part of every record of the features topic.
ISSUE_EVERY: Final[Mapping[int, int]] = {1: 1, 5: 1, 15: 5, 60: 15}
DAY_MINUTES: Final = 1440
REFERENCE, FITTED = "baseline", "ml"
# The places of variants in records.
VARIANTS: Final = (REFERENCE, FITTED)
WINDOW_DAYS: Final = 7
DIGEST_BYTES: Final = 32
# Bytes of a model's version, in UTF-8.
VERSION_BYTES: Final = 32

_HORIZONS: Final = len(HORIZON_MINUTES)
_MINUTES = np.array(HORIZON_MINUTES)
_ISSUE_EVERY = np.array([ISSUE_EVERY[horizon] for horizon in HORIZON_MINUTES])
# Forecasts that wait for their outcome: of each horizon as many as are issued while it passes.
MAX_PENDING: Final = (
    sum(-(-horizon // ISSUE_EVERY[horizon]) for horizon in HORIZON_MINUTES) + _HORIZONS
)

# The numbers of a forecast of one horizon, in the order of `Prediction`.
NUMBERS: Final = ("sigma", "lo", "hi", "threshold", "score")
_FORECAST = [("minute", "i8"), ("horizon", "i8"), *((name, "f8") for name in NUMBERS)]
# An issued forecast; `horizon` is an index in HORIZON_MINUTES.
ISSUED = record_type(_FORECAST)
# A matured one, with its row in the table of symbols, the model that issued it, the realised
# volatility and the losses.
OUTCOME = record_type(
    [
        ("symbol", "i8"),
        ("variant", "i8"),
        ("version", "u1", (VERSION_BYTES,)),
        *_FORECAST,
        ("realised", "f8"),
        ("qlike", "f8"),
        ("covered", "i8"),
        ("brier", "f8"),
    ]
)
# The forecasts of one variant. `digest` is its model's, zeros before the first forecast; `newest`
# the minute at whose end the newest was issued, -1 before it.
VARIANT_SCORES = record_type(
    [
        ("digest", "u1", (DIGEST_BYTES,)),
        ("version", "u1", (VERSION_BYTES,)),
        ("newest", "i8"),
        ("pending", "i8"),
        ("issued", ISSUED, (MAX_PENDING,)),
    ]
)
# The test between both variants at one horizon, on forecasts that do not overlap.
_PAIRED = record_type([("tested_until", "i8"), ("test", sequential_test.TEST)])
SCORES = record_type(
    [("variants", VARIANT_SCORES, (len(VARIANTS),)), ("paired", _PAIRED, (_HORIZONS,))]
)

# Sums of a day lie beside the record, since their number is a setting: the day and 1, the losses of
# each variant at each horizon, and the paired losses of both at each horizon.
LOSSES: Final = ("n", "qlike", "covered", "brier")
PAIRED_LOSSES: Final = ("n", "reference", "fitted")
PAIRED_FROM: Final = 1 + len(VARIANTS) * _HORIZONS * len(LOSSES)
DAILY_WIDTH: Final = PAIRED_FROM + _HORIZONS * len(PAIRED_LOSSES)


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


@kernel
def start(scores: Any) -> None:
    """Make a record of zeros a symbol without forecasts."""
    for variant in range(len(VARIANTS)):
        scores.variants[variant].newest = -1


@kernel
def same_digest(first: Any, second: Any) -> bool:
    """Return True if two digests of models are equal."""
    differing = 0
    for index in range(DIGEST_BYTES):
        differing += int(first[index] != second[index])
    return differing == 0


@kernel
def is_due(minute: int, horizon: int) -> bool:
    """Return True if the forecast at an index of HORIZON_MINUTES is issued after a minute."""
    return (minute + 1) % _ISSUE_EVERY[horizon] == 0


@kernel
def adopt(scores: Any, daily: Any, variant: int, digest: Any, version: Any) -> None:
    """Start the scores of a variant anew if they are of another model."""
    kept = scores.variants[variant]
    if not same_digest(kept.digest, digest):
        if kept.newest >= 0:
            # A comparison with the previous model does not apply to the new one.
            for horizon in range(_HORIZONS):
                scores.paired[horizon].tested_until = 0
                sequential_test.start(scores.paired[horizon].test)
            daily[:, PAIRED_FROM:] = 0.0
        first = 1 + variant * _HORIZONS * len(LOSSES)
        daily[:, first : first + _HORIZONS * len(LOSSES)] = 0.0
        kept.digest[:] = digest
        kept.pending = 0
    kept.version[:] = version


@kernel
def issue(scores: Any, variant: int, minute: int, horizon: int, numbers: Any) -> None:
    """Keep a forecast that was issued at the end of a minute until it matures.

    `numbers` are NUMBERS; `adopt` must have been called with the model.
    """
    kept = scores.variants[variant]
    kept.newest = minute
    # Never full: what matures earlier than it is added to is dropped with the next minute.
    place = min(kept.pending, MAX_PENDING - 1)
    issued = kept.issued[place]
    issued.minute = minute
    issued.horizon = horizon
    issued.sigma = numbers[0]
    issued.lo = numbers[1]
    issued.hi = numbers[2]
    issued.threshold = numbers[3]
    issued.score = numbers[4]
    kept.pending = place + 1


@kernel
def mature(scores: Any, daily: Any, minute: int, log_realised: Any, outcomes: Any) -> int:
    """Score the forecasts of both variants that mature at the end of a minute.

    Those whose horizon ended earlier, or was not observed in full, are dropped. `log_realised` is
    ln of the realised variance over each of HORIZON_MINUTES up to that time, NaN where it was not
    observed in full. Returns the number of outcomes written.
    """
    count = 0
    qlike = np.full((len(VARIANTS), _HORIZONS), math.nan)
    issued_at = np.zeros(_HORIZONS, np.int64)
    for variant in range(len(VARIANTS)):
        kept = scores.variants[variant]
        left = 0
        for index in range(kept.pending):
            issued = kept.issued[index]
            # A gap of the feed skips minutes, and with them the end of some horizons.
            ends = issued.minute + _MINUTES[issued.horizon]
            if ends > minute:
                if left != index:
                    kept.issued[left] = issued
                left += 1
            elif ends == minute and not math.isnan(log_realised[issued.horizon]):
                outcome = outcomes[count]
                count += 1
                outcome.variant = variant
                outcome.version[:] = kept.version
                evaluate(issued, math.exp(log_realised[issued.horizon]), outcome)
                _add(daily, minute, variant, outcome)
                qlike[variant, issued.horizon] = outcome.qlike
                issued_at[issued.horizon] = issued.minute
        kept.pending = left
    for horizon in range(_HORIZONS):
        if not math.isnan(qlike[0, horizon] + qlike[1, horizon]):
            _compare(scores, daily, minute, horizon, issued_at[horizon], qlike[:, horizon])
    return count


@kernel
def evaluate(issued: Any, realised: float, outcome: Any) -> None:
    """Compare a forecast with the realised variance of its horizon.

    QLIKE is RV/h - ln(RV/h) - 1 on variances (Patton 2011); the Brier score is the squared error of
    the spike probability.
    """
    outcome.minute = issued.minute
    outcome.horizon = issued.horizon
    outcome.sigma = issued.sigma
    outcome.lo = issued.lo
    outcome.hi = issued.hi
    outcome.threshold = issued.threshold
    outcome.score = issued.score
    ratio = realised / (issued.sigma * issued.sigma)
    volatility = math.sqrt(realised)
    spike = 1.0 if volatility > issued.threshold else 0.0
    outcome.realised = volatility
    outcome.qlike = ratio - math.log(ratio) - 1
    outcome.covered = 1 if issued.lo <= volatility <= issued.hi else 0
    outcome.brier = (issued.score - spike) * (issued.score - spike)


@kernel
def _day(daily: Any, minute: int) -> Any:
    """Return the sums of the day of a minute, new ones in the place of a day that has left."""
    day = minute // DAY_MINUTES
    sums = daily[day % len(daily)]
    if sums[0] != day + 1:
        sums[:] = 0.0
        sums[0] = day + 1
    return sums


@kernel
def _add(daily: Any, minute: int, variant: int, outcome: Any) -> None:
    sums = _day(daily, minute)
    at = 1 + (variant * _HORIZONS + outcome.horizon) * len(LOSSES)
    sums[at] += 1.0
    sums[at + 1] += outcome.qlike
    sums[at + 2] += outcome.covered
    sums[at + 3] += outcome.brier


@kernel
def _compare(
    scores: Any, daily: Any, minute: int, horizon: int, issued_at: int, losses: Any
) -> None:
    """Add the losses of both variants on the outcome of forecasts that matured at `minute`."""
    sums = _day(daily, minute)
    at = PAIRED_FROM + horizon * len(PAIRED_LOSSES)
    sums[at] += 1.0
    sums[at + 1] += losses[0]
    sums[at + 2] += losses[1]
    paired = scores.paired[horizon]
    # The test is valid for horizons that do not overlap.
    if issued_at >= paired.tested_until:
        sequential_test.add(paired.test, losses[0], losses[1])
        paired.tested_until = minute


class SymbolScores:
    """Reads the scores of one symbol from its record and the sums of its days."""

    __slots__ = ("_daily", "_record", "_symbol")

    def __init__(self, symbol: str, record: Any, daily: NDArray[np.float64]) -> None:
        """Read a record of SCORES and `daily`, of shape (days, DAILY_WIDTH)."""
        self._symbol = symbol
        self._record = record
        self._daily = daily

    def has_model(self, variant: str, digest: str) -> bool:
        """Return True if the forecasts of a variant are those of the model with a digest."""
        kept = self._record.variants[VARIANTS.index(variant)]
        return kept.newest >= 0 and kept.digest.tobytes() == digest_bytes(digest)

    def newest_prediction_id(self, variant: str) -> str | None:
        """Return the id of the newest forecast issued by a variant; None before the first."""
        kept = self._record.variants[VARIANTS.index(variant)]
        if kept.newest < 0:
            return None
        return prediction_id(self._symbol, int(kept.newest), variant, version_of(kept.version))

    def loss_sums(self, variant: str, index: int) -> LossSums:
        """Return the sums of a variant over the window, at an index of HORIZON_MINUTES."""
        first = 1 + (VARIANTS.index(variant) * _HORIZONS + index) * len(LOSSES)
        return LossSums(*self._total(first, len(LOSSES)))

    def paired_losses(self, index: int) -> PairedLosses:
        """Return the sums of both variants over the window, at an index of HORIZON_MINUTES."""
        first = PAIRED_FROM + index * len(PAIRED_LOSSES)
        return PairedLosses(*self._total(first, len(PAIRED_LOSSES)))

    def test(self, index: int) -> Any:
        """Return the sequential test between both variants, at an index of HORIZON_MINUTES."""
        return self._record.paired[index].test

    def _total(self, first: int, width: int) -> list[float]:
        days = self._daily[:, 0]
        within = (days > 0) & (days > days.max() - len(days))
        total: list[float] = self._daily[within, first : first + width].sum(axis=0).tolist()
        return total


def digest_bytes(digest: str) -> bytes:
    """Return a model's digest as it is kept in records; texts that are no SHA-256 are hashed."""
    try:
        kept = bytes.fromhex(digest)
    except ValueError:
        kept = b""
    return kept if len(kept) == DIGEST_BYTES else sha256(digest.encode()).digest()


def version_bytes(version: str) -> NDArray[np.uint8]:
    """Return a model's version as it is kept in records.

    Raises ValueError if it is longer than VERSION_BYTES.
    """
    encoded = version.encode()
    if len(encoded) > VERSION_BYTES:
        raise ValueError(f"a version has at most {VERSION_BYTES} bytes, not {len(encoded)}")
    return np.frombuffer(encoded.ljust(VERSION_BYTES, b"\0"), np.uint8)


def version_of(kept: NDArray[np.uint8]) -> str:
    """Return the version that `version_bytes` encoded."""
    return kept.tobytes().rstrip(b"\0").decode()


def outcome_of(record: Any, symbol: str) -> Outcome:
    """Return a matured forecast of a symbol from a record of OUTCOME."""
    issued = IssuedForecast(
        symbol,
        VARIANTS[record["variant"]],
        version_of(record["version"]),
        int(record["minute"]),
        HORIZON_MINUTES[record["horizon"]],
        *(float(record[name]) for name in NUMBERS),
    )
    return Outcome(
        issued=issued,
        realised=float(record["realised"]),
        qlike=float(record["qlike"]),
        covered=bool(record["covered"]),
        brier=float(record["brier"]),
    )


def prediction_id(symbol: str, minute: int, variant: str, version: str) -> str:
    """Return the id of the forecast that a model issued for a symbol at the end of a minute.

    `minute` counts from the epoch.
    """
    return f"{symbol}/{_end_of(minute)}/{variant}-{version}"


# All symbols have forecasts of the same few minutes.
@lru_cache(256)
def _end_of(minute: int) -> str:
    return format_time((minute + 1) * 60 * NS)
