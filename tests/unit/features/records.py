"""Records of kernels for tests."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from volsvc.features.kernels import realised
from volsvc.features.kernels.minutes import BAR


def started(dtype: np.dtype[Any], start: Callable[[Any], None]) -> Any:
    """Return a new record on which `start` was called."""
    record = np.zeros(1, dtype)[0]
    start(record)
    return record


def copied(record: Any) -> Any:
    """Return a copy of a record."""
    copy = np.zeros(1, record.dtype)
    copy[0] = record
    return copy[0]


def bar_of(
    minute: int,
    close: float,
    high: float,
    low: float,
    variance: float,
    down: float,
    volume: float,
    returns: float = 1.0,
    first: float = 100.0,
    ticks: int = 1,
) -> Any:
    """Return a record of BAR."""
    fields = (minute, close, high, low, variance, down, volume, returns, first, ticks)
    return np.array([fields], BAR)[0]


def close_minute(
    record: Any, minute: int, variance: float, one_minute: float, *, gap: bool
) -> list[tuple[int, list[float]]]:
    """Add a minute with trades and the silent ones before it to a record of REALISED.

    Returns each minute with ln RV over each horizon up to its end.
    """
    found = []
    silent = realised.silent_minutes(record, minute, gap)
    for at in range(minute - silent, minute + 1):
        logs = np.full(realised.HORIZONS, math.nan)
        numbers = (variance, one_minute) if at == minute else (0.0, 0.0)
        realised.add(record, at, *numbers, logs)
        found.append((at, logs.tolist()))
    return found
