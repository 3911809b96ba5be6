"""Minute bars of simulated markets with a known volatility."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volsvc.domain.minute_bars import BarSeries
from volsvc.features.bars import minute_bars

# 2026-01-05, a Monday, in minutes since the epoch.
START = 29_459_520
# Prices in a minute: one each 5 s, as on the grid of ticks.
STEPS = 12

Array = NDArray[np.float64]


def constant(sigma: float, minutes: int) -> Array:
    """Return the same volatility for each minute."""
    return np.full(minutes, sigma)


def jump(sigma: float, factor: float, before: int, after: int) -> Array:
    """Return a volatility that is `factor` times as large from one minute to the next."""
    return np.concatenate((np.full(before, sigma), np.full(after, factor * sigma)))


def garch(sigma: float, minutes: int, seed: int) -> Array:
    """Return the conditional volatility of each minute of a GARCH(1,1) with persistence 0.98."""
    rng = np.random.default_rng(seed)
    alpha, beta = 0.1, 0.88
    variance = usual = sigma**2
    result = np.empty(minutes)
    for index, shock in enumerate(rng.normal(size=minutes)):
        result[index] = math.sqrt(variance)
        variance = usual * (1 - alpha - beta) + variance * (alpha * shock**2 + beta)
    return result


def bars(sigmas: Array, seed: int, scale: float = 1.0) -> Any:
    """Return bars (BAR) of a random walk; `sigmas` are per sqrt(minute), all minutes have trades.

    The realised variance of a minute is that of its STEPS prices, as it is from ticks.
    """
    rng = np.random.default_rng(seed)
    moves = rng.normal(size=(len(sigmas), STEPS)) * sigmas[:, None] / math.sqrt(STEPS)
    paths = 100 * scale * np.exp(np.cumsum(moves.ravel())).reshape(moves.shape)
    sizes = rng.gamma(2, size=len(sigmas))
    prices = (paths[:, 0], paths.max(axis=1), paths.min(axis=1), paths[:, -1])
    minutes = START + np.arange(len(sigmas))
    result = minute_bars(BarSeries(minutes, np.column_stack([*prices, sizes])))
    squares = moves**2
    result["variance"] = [row.sum() for row in squares]
    result["down"] = [row[move < 0].sum() for row, move in zip(squares, moves, strict=True)]
    result["returns"] = STEPS
    return result


def write_bars(path: Path, sigmas: Array, seed: int) -> None:
    """Write a CSV of bars in the form of exchanges."""
    rows = ["ts,open,high,low,close,volume"]
    previous = 100.0
    names = ["minute", "high", "low", "close", "volume"]
    for minute, high, low, close, volume in bars(sigmas, seed)[names].tolist():
        time = np.datetime64(minute * 60, "s")
        numbers = (previous, max(high, previous), min(low, previous), close)
        rows.append(f"{time}Z,{','.join(map(repr, numbers))},{volume!r}")
        previous = close
    path.write_text("\n".join(rows))
