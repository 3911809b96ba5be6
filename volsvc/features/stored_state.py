"""The state of a symbol as bytes, as it is published, and the checks of bytes that come back."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from volsvc.domain import HORIZON_MINUTES, NS
from volsvc.domain.fields import MAX_PRICE
from volsvc.features.kernels import apply, realised, record
from volsvc.features.state import BAR_SOURCES
from volsvc.scoring import scores

# Minutes since the epoch that no time in nanoseconds reaches.
_MAX_MINUTE: Final = 2**63 // (60 * NS)


class StateError(ValueError):
    """A stored state of another version or of another window size."""


class StoredState(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A state and what names its layout; records and arrays are their bytes.

    `prices` and `times` are those inside the window, oldest first. `daily` are the sums of scores
    by day, and `outside` the ticks (TICK) that wait for older ones.
    """

    schema: str
    window_size: int
    ticks: bytes
    learnt: bytes
    prices: bytes
    times: bytes
    daily: bytes
    outside: bytes


class UnpackedState(NamedTuple):
    """The arrays of a stored state; `state` is a record of STATE."""

    state: Any
    prices: NDArray[np.float64]
    times: NDArray[np.int64]
    daily: NDArray[np.float64]
    outside: NDArray[Any]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(StoredState).decode


def pack(stored: StoredState) -> bytes:
    """Return a stored state as bytes."""
    return _encode(stored)


def unpack(content: bytes, window_size: int) -> UnpackedState:
    """Return the state that `pack` encoded.

    Raises StateError if it is of another layout or window size, or if a number in it is out of its
    range.
    """
    try:
        stored = _decode(content)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise StateError(f"is no state: {error}") from error
    if stored.schema != record.SCHEMA_ID:
        raise StateError(f"state of layout {stored.schema} is not {record.SCHEMA_ID}")
    if stored.window_size != window_size:
        raise StateError(f"window of {stored.window_size} is not {window_size}")
    try:
        state = np.zeros(1, record.STATE)
        state["ticks"][0] = np.frombuffer(stored.ticks, record.TICKS)[0]
        state["learnt"][0] = np.frombuffer(stored.learnt, record.LEARNT)[0]
        unpacked = UnpackedState(
            state[0],
            # Copied: kernels have machine code of their own for arrays that are read alone.
            np.frombuffer(stored.prices, np.float64).copy(),
            np.frombuffer(stored.times, np.int64).copy(),
            np.frombuffer(stored.daily, np.float64).reshape(-1, scores.DAILY_WIDTH),
            np.frombuffer(stored.outside, apply.TICK),
        )
    except (ValueError, IndexError) as error:
        raise StateError(f"is no state: {error}") from error
    check(unpacked, window_size)
    return unpacked


def check(unpacked: UnpackedState, window_size: int) -> None:
    """Raise StateError if a number would lead outside of an array: kernels have no checks."""
    ticks, learnt = unpacked.state.ticks, unpacked.state.learnt
    pending = [kept.pending for kept in learnt.scores.variants]
    horizons = [
        issued for kept in learnt.scores.variants for issued in kept.issued["horizon"].tolist()
    ]
    count, days = len(unpacked.prices), unpacked.daily[:, 0]
    sound = (
        len(unpacked.times) == count == min(ticks.window.count, window_size)
        and 0 <= ticks.check.holes <= len(ticks.check.hole)
        and ticks.check.remembered >= 0
        and ticks.check.last_ns >= -1
        and ticks.minute.first_ns >= -1
        and -1 <= ticks.multiscale.minute < _MAX_MINUTE
        and ticks.multiscale.diurnal.day >= -1
        and 0 <= ticks.minute.bar.minute < _MAX_MINUTE
        and 0 <= ticks.warmed.source < len(BAR_SOURCES)
        and 0 <= ticks.warmed.from_minute < _MAX_MINUTE
        and ticks.warmed.minutes >= 0
        and (ticks.minute.first_ns < 0 or ticks.multiscale.minute < ticks.minute.bar.minute)
        and -1 <= learnt.realised.minute < _MAX_MINUTE
        and -1 <= learnt.digest.closed_minute < _MAX_MINUTE
        and 0 <= learnt.realised.observed <= realised.MAX_HORIZON
        and all(0 <= number <= scores.MAX_PENDING for number in pending)
        and all(0 <= horizon < len(HORIZON_MINUTES) for horizon in horizons)
        and bool(((days >= 0) & (days < _MAX_MINUTE)).all())
        and bool((unpacked.times >= 0).all())
        and _are_prices(unpacked.prices)
        and _wait_soundly(ticks, unpacked.outside)
    )
    if not sound:
        raise StateError("is no state: a number in it is out of its range")


def _are_prices(prices: NDArray[np.float64]) -> bool:
    # The exact sums have no digit for the return of an infinite one.
    return bool(((prices >= 1 / MAX_PRICE) & (prices <= MAX_PRICE)).all())


def _wait_soundly(ticks: Any, outside: NDArray[Any]) -> bool:
    """Return True if the ticks that wait can be applied."""
    inside = [tick for tick in (ticks.next, ticks.prints.held) if tick.present]
    return (
        all(tick.time_ns >= 0 for tick in inside)
        and _are_prices(np.array([tick.price for tick in inside]))
        and bool((outside["time_ns"] >= 0).all())
        and _are_prices(outside["price"])
    )
