"""States in features records of version 3, which hold them as JSON, as records of STATE.

The releases up to 1.0 and development versions after them wrote these. They are migrated when they
are restored, so that an update keeps what was learnt of a symbol. Nothing writes them any more, so
this module can go once nobody updates from such a version.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from volsvc.domain import HORIZON_MINUTES, Tick, parse_time
from volsvc.domain.fields import MAX_PRICE
from volsvc.domain.float_codec import unpack as unpack_floats
from volsvc.domain.tick_columns import columns_of_ticks
from volsvc.features.kernels import diurnal, multiscale, realised, record
from volsvc.features.kernels.minutes import MINUTE_NS
from volsvc.features.kernels.tick_check import MAX_RECENT, WORD
from volsvc.features.residual_laws import LEVELS
from volsvc.features.stored_state import StateError, UnpackedState, check
from volsvc.features.tick_batch import identities, tick_batch
from volsvc.scoring.scores import (
    DAILY_WIDTH,
    DIGEST_BYTES,
    LOSSES,
    NUMBERS,
    PAIRED_FROM,
    VARIANTS,
    digest_bytes,
    prediction_id,
    version_bytes,
)
from volsvc.scoring.sequential_test import FRACTIONS

_HORIZONS: Final = len(HORIZON_MINUTES)

# More than any sum of numbers that ticks lead to, with room for what is computed of it.
_MOST: Final = 1e30
# More than any bin of a daily pattern can have.
_MOST_IN_BIN: Final = 1e6

# What fits into a record, with room for the sums that kernels make of it.
_Count = Annotated[int, Meta(ge=0, le=2**62)]
_Integer = Annotated[int, Meta(ge=-(2**62), le=2**62)]
_Number = Annotated[float, Meta(ge=-_MOST, le=_MOST)]
_Weight = Annotated[float, Meta(ge=0, le=_MOST)]
_Price = Annotated[float, Meta(ge=1 / MAX_PRICE, le=MAX_PRICE)]
# Floats in the encoding of `float_codec`.
_Floats = str
# A day, and sums of its scores: of a variant at a horizon, and of both variants at it.
_Losses = tuple[_Count, _Number, _Number, _Number, _Number]
_PairedLosses = tuple[_Count, _Number, _Number, _Number]
# Identities of ticks without a trade id, with a sequence and without.
_Sequenced = tuple[_Count, _Integer]
_Unnumbered = tuple[_Count, _Price, _Price | None, _Price | None, _Weight | None, str | None]
# The fields of a Tick.
_Tick = tuple[
    str,
    _Count,
    _Price,
    _Price | None,
    _Price | None,
    _Weight | None,
    str | None,
    _Count | None,
    _Integer | None,
    str,
]


class _MultiScale(msgspec.Struct):
    minute: _Count | None
    # Close, last return, elapsed minutes.
    scalars: _Floats
    sums: _Floats
    # The newest day, sums, weights, factors of that day, its sums and its minutes.
    diurnal: tuple[_Count | None, _Floats, _Floats, _Floats, _Floats, _Floats]


class _Realised(msgspec.Struct):
    minute: _Integer
    watched: _Integer
    variances: _Floats
    # By horizon: count, gain, bins of ln RV, and their weights.
    usual: list[
        tuple[_Count, Annotated[float, Meta(ge=1, le=realised.MAX_GAIN)], list[_Integer], _Floats]
    ]


class _TickCheck(msgspec.Struct):
    last_ns: _Count | None
    last_trade_id: _Count | None
    recent: list[_Count]
    # Identities of ticks: their time, then "id" and the trade id, the sequence, or other fields.
    same_time: list[list[Any]]
    # Duplicates, late ticks, gaps, future ticks, accepted ticks.
    counts: tuple[_Count, _Count, _Count, _Count, _Count]
    # The last id of a hole, the time at which it was found, and the ids that are missing.
    missing: list[tuple[_Count, _Count, list[_Count]]] = []


class _Calibration(msgspec.Struct):
    digest: str
    # By horizon, also what follows.
    issued: list[_Floats]
    storms: list[_Floats]
    shares: list[_Floats]
    counts: list[tuple[_Weight, _Weight]]
    # States of 1.0.0 have none.
    minute: _Count | None = None


class _VariantScores(msgspec.Struct):
    digest: str
    newest: str | None
    # Variant, version, minute and horizon; the numbers of all are in `said`.
    pending: list[tuple[str, str, _Count, _Count]]
    said: _Floats
    windows: list[list[_Losses]]


class _Scores(msgspec.Struct):
    books: dict[str, _VariantScores]
    # By horizon: end of the newest tested forecast, sums by day, and the sequential test.
    versus: list[tuple[_Integer, list[_PairedLosses], tuple[_Count, _Floats, _Floats]]]


class _Digest(msgspec.Struct):
    head: str
    closed: tuple[_Count, str] | None


class _State(msgspec.Struct):
    v: Literal[3]
    window_size: int
    partition: _Count
    offset: _Integer
    prices: list[_Price]
    times: list[_Count]
    step: _Integer
    # Time of the first tick, step of the grid, the minute, and its numbers.
    minutes: tuple[_Count | None, _Count, _Count, _Floats]
    engine: _MultiScale
    outcomes: _Realised
    order: _TickCheck
    prints: tuple[_Count, _Tick | None] = (0, None)
    waiting: list[_Tick] = []
    tolerated: list[_Tick] = []
    calibrations: dict[str, _Calibration] = {}
    scores: _Scores | None = None
    digest: _Digest | None = None


def migrate(symbol: str, content: Mapping[str, Any], window_size: int) -> UnpackedState:
    """Return the state of a symbol that a record of version 3 holds.

    Ticks that wait lose their source, which counts in a metric alone. Raises StateError if it is
    not valid, is of another window size, or if a number in it is out of its range.
    """
    try:
        stored = msgspec.convert(content, _State)
        state = np.zeros(1, record.STATE)[0]
        record.start(state)
        outside = _fill_ticks(state.ticks, stored)
        _fill_realised(state.learnt.realised, stored.outcomes)
        for place, variant in enumerate(VARIANTS):
            if variant in stored.calibrations:
                _fill_calibration(state.learnt.calibrations[place], stored.calibrations[variant])
        daily = _fill_scores(state.learnt.scores, symbol, stored.scores)
        _fill_digest(state.learnt.digest, stored.digest)
    # IndexError where there is more of something than has a place.
    except (msgspec.ValidationError, ValueError, IndexError) as error:
        raise StateError(f"is no state of version 3: {error}") from error
    if stored.window_size != window_size:
        raise StateError(f"window of {stored.window_size} is not {window_size}")
    prices, times = np.array(stored.prices), np.array(stored.times, np.int64)
    unpacked = UnpackedState(state, prices, times, daily, outside)
    check(unpacked, window_size)
    return unpacked


def _floats(text: str, *shape: int, least: float = -_MOST, most: float = _MOST) -> Any:
    """Return floats of a shape; raises ValueError if any is NaN or out of its range."""
    floats = unpack_floats(text).reshape(shape)
    if not ((floats >= least) & (floats <= most)).all():
        raise ValueError("a number is out of its range")
    return floats


def _or_none(number: int | None) -> int:
    return -1 if number is None else number


def _fill_ticks(ticks: Any, stored: _State) -> NDArray[Any]:
    """Write what changes with ticks, and return the ticks that wait outside of the record."""
    ticks.partition, ticks.offset, ticks.step = stored.partition, stored.offset, stored.step
    ticks.window.count = len(stored.prices)
    _fill_check(ticks.check, stored.order)
    _fill_minute(ticks.minute, stored.minutes)
    _fill_multiscale(ticks.multiscale, stored.engine)
    ticks.prints.dropped, held = stored.prints
    if held is not None:
        ticks.prints.held = _waiting(held)
    first, rest = stored.waiting[:1], stored.waiting[1:]
    for tick in first:
        ticks.next = _waiting(tick)
    outside = [Tick(*fields) for fields in (*rest, *stored.tolerated)]
    ticks.outside = len(outside)
    return tick_batch(columns_of_ticks(outside), [0] * len(outside))


def _waiting(fields: _Tick) -> tuple[int, int, float, float, int]:
    """Return a tick as a WAITING_TICK."""
    tick = Tick(*fields)
    return 1, tick.time_ns, tick.feature_price, tick.size or 0.0, 0


def _fill_check(kept: Any, stored: _TickCheck) -> None:
    kept.last_ns, kept.last_id = _or_none(stored.last_ns), _or_none(stored.last_trade_id)
    kept.duplicates, kept.late, kept.gaps, kept.future, kept.accepted = stored.counts
    # Those with a trade id are in `recent`, or wait.
    times = [fields for fields in stored.same_time if len(fields) != 3]
    unnumbered = [_identity(fields) for fields in times if fields[:1] == [stored.last_ns]]
    recent = [*stored.recent, *unnumbered][-MAX_RECENT:]
    kept.recent[: len(recent)] = recent
    kept.remembered = len(recent)
    for place, (last, found_ns, missing) in enumerate(stored.missing):
        hole = kept.hole[place]
        hole.last, hole.found_ns = last, found_ns
        for back in {last - trade_id for trade_id in missing}:
            if back < 0:
                raise ValueError("an id is missing after the last one")
            hole.missing[back // WORD] += 1 << back % WORD
    kept.holes = len(stored.missing)


def _identity(fields: Sequence[Any]) -> int:
    if len(fields) == 2:
        time_ns, sequence = msgspec.convert(fields, _Sequenced)
        tick = Tick("", time_ns, 1.0, sequence=sequence)
    else:
        tick = Tick("", *msgspec.convert(fields, _Unnumbered))
    return int(identities(columns_of_ticks([tick]))[0])


def _fill_minute(minute: Any, stored: tuple[int | None, int, int, str]) -> None:
    first_ns, minute.step, number, packed = stored
    numbers = _floats(packed, 8, least=0.0)
    if first_ns is not None:
        minute.first_ns = first_ns
        sampled, close, high, low, *sums = numbers.tolist()
        if not 1 / MAX_PRICE <= min(sampled, close, high, low) <= MAX_PRICE:
            raise ValueError("a price of the minute is out of its range")
        minute.sampled = sampled
        # It had neither the number of ticks nor the first price.
        minute.bar = (number, close, high, low, *sums, math.nan, 0)


def _fill_multiscale(kept: Any, stored: _MultiScale) -> None:
    close, last_return, elapsed = unpack_floats(stored.scalars).reshape(3)
    if stored.minute is not None:
        if not 1 / MAX_PRICE <= close <= MAX_PRICE:
            raise ValueError("the last close is out of its range")
        kept.minute, kept.close = stored.minute, close
    if not (abs(last_return) <= _MOST and 0 <= elapsed <= _MOST):
        raise ValueError("a number of the averages is out of its range")
    kept.last_return, kept.elapsed = last_return, elapsed
    kept.sums = _floats(stored.sums, multiscale.COUNT)
    _fill_diurnal(kept.diurnal, stored.diurnal)


def _fill_diurnal(kept: Any, stored: tuple[int | None, str, str, str, str, str]) -> None:
    day, sums, weights, today, day_sums, day_minutes = stored
    kept.day = _or_none(day)
    for name, text, least in (
        ("sums", sums, 0.0),
        ("weights", weights, 0.0),
        ("today", today, 0.01),
        ("day_sums", day_sums, 0.0),
        ("day_minutes", day_minutes, 0.0),
    ):
        kept[name] = _floats(text, diurnal.BINS, least=least, most=_MOST_IN_BIN)
    # Factors are quotients of these.
    relative = multiscale.MAX_RELATIVE * 2
    if (kept.sums > relative * kept.weights).any():
        raise ValueError("sums of the daily pattern do not fit its weights")
    diurnal.restore(kept)


def _fill_realised(kept: Any, stored: _Realised) -> None:
    kept.minute, kept.observed = stored.minute, stored.watched
    kept.variances = _floats(stored.variances, realised.MAX_HORIZON, least=0.0)
    for index, usual in zip(range(_HORIZONS), stored.usual, strict=True):
        quantile = kept.quantiles[index]
        quantile.count, quantile.gain, bins, packed = usual
        weights = _floats(packed, len(bins), least=0.0)
        if (quantile.count > 0) != (weights.sum() > 0):
            raise ValueError("weights of a quantile do not fit their count")
        # Releases had a bin for each value, however far out.
        places = np.clip(np.array(bins, np.int64) - realised.FIRST_BIN, 0, realised.BINS - 1)
        np.add.at(quantile.weights, places, weights)
        kept.log_thresholds[index] = realised.value(quantile)


def _fill_calibration(kept: Any, stored: _Calibration) -> None:
    kept.digest = np.frombuffer(digest_bytes(stored.digest), np.uint8)
    kept.minute = _or_none(stored.minute)
    issued = [
        unpack_floats(text).reshape(horizon)
        for text, horizon in zip(stored.issued, HORIZON_MINUTES, strict=True)
    ]
    kept.issued = np.concatenate(issued)
    if np.isinf(kept.issued).any():
        raise ValueError("a pending forecast is not finite")
    kept.turbulence = np.concatenate(
        [
            _floats(text, horizon, least=0.0, most=1.0)
            for text, horizon in zip(stored.storms, HORIZON_MINUTES, strict=True)
        ]
    )
    kept.counts = np.array(stored.counts).reshape(_HORIZONS, 2)
    for index, text in zip(range(_HORIZONS), stored.shares, strict=True):
        shares = _floats(text, 2, len(LEVELS) - 1, least=0.0)
        # Readings divide by the sums.
        if not (shares.sum(axis=1) > 0).all():
            raise ValueError("shares of a law are all 0")
        kept.cumulated[index, :, 1:] = np.cumsum(shares, axis=1)


def _fill_scores(kept: Any, symbol: str, stored: _Scores | None) -> NDArray[np.float64]:
    """Write the scores of a symbol, and return the sums by day."""
    days: dict[int, NDArray[np.float64]] = defaultdict(lambda: np.zeros(DAILY_WIDTH))
    if stored is not None:
        for place, variant in enumerate(VARIANTS):
            if variant in stored.books:
                book = stored.books[variant]
                _fill_variant(kept.variants[place], symbol, variant, book)
                first = 1 + place * _HORIZONS * len(LOSSES)
                _fill_days(days, first, book.windows)
        _fill_days(days, PAIRED_FROM, [losses for _, losses, _ in stored.versus])
        for index, (until, _, (count, fitted, reference)) in enumerate(stored.versus):
            paired = kept.paired[index]
            paired.tested_until, paired.test.n = until, count
            paired.test.fitted = _floats(fitted, len(FRACTIONS))
            paired.test.reference = _floats(reference, len(FRACTIONS))
    for day, sums in days.items():
        sums[0] = day + 1
    return np.array(list(days.values())).reshape(-1, DAILY_WIDTH)


def _fill_days(
    days: Mapping[int, NDArray[np.float64]], first: int, windows: Sequence[Sequence[Any]]
) -> None:
    """Write the sums of days at each horizon, those of the first from the column `first` on."""
    for index, window in zip(range(_HORIZONS), windows, strict=True):
        for day, *sums in window:
            at = first + index * len(sums)
            days[day][at : at + len(sums)] = sums


def _fill_variant(kept: Any, symbol: str, variant: str, stored: _VariantScores) -> None:
    kept.digest = np.frombuffer(digest_bytes(stored.digest), np.uint8)
    if stored.newest is not None:
        time, _, model = stored.newest.removeprefix(f"{symbol}/").partition("/")
        version = model.removeprefix(f"{variant}-")
        kept.newest = parse_time(time) // MINUTE_NS - 1
        kept.version = version_bytes(version)
        if prediction_id(symbol, int(kept.newest), variant, version) != stored.newest:
            raise ValueError("an id of a forecast is not valid")
    rows = _floats(stored.said, len(stored.pending), len(NUMBERS), least=0.0).tolist()
    for place, (pending, numbers) in enumerate(zip(stored.pending, rows, strict=True)):
        _, _, minute, horizon = pending
        # The outcome is relative to the square of sigma.
        if numbers[0] < 1 / _MOST:
            raise ValueError("a forecast is too near to 0")
        kept.issued[place] = (minute, HORIZON_MINUTES.index(horizon), *numbers)
    kept.pending = len(stored.pending)


def _fill_digest(kept: Any, stored: _Digest | None) -> None:
    if stored is not None:
        kept.head = _head(stored.head)
        if stored.closed is not None:
            kept.closed_minute, head = stored.closed
            kept.closed_head = _head(head)


def _head(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(bytes.fromhex(text), np.uint8).reshape(DIGEST_BYTES)
