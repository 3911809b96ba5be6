"""Minute bars of simulated markets with a known volatility."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from volsvc.features import MinuteBar, Ohlcv, bar_of_prices

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


def bars(sigmas: Array, seed: int, scale: float = 1.0) -> list[MinuteBar]:
    """Return bars of a random walk; `sigmas` are per sqrt(minute), every minute has trades.

    The realised variance of a minute is that of its STEPS prices, as it is from ticks.
    """
    rng = np.random.default_rng(seed)
    moves = rng.normal(size=(len(sigmas), STEPS)) * sigmas[:, None] / math.sqrt(STEPS)
    paths = 100 * scale * np.exp(np.cumsum(moves.ravel())).reshape(moves.shape)
    sizes = rng.gamma(2, size=len(sigmas)).tolist()
    result, previous = [], 100.0 * scale
    for index, path in enumerate(paths.tolist()):
        whole = bar_of_prices(
            START + index, previous, Ohlcv(path[0], max(path), min(path), path[-1], sizes[index])
        )
        squares = moves[index] ** 2
        down = float(squares[moves[index] < 0].sum())
        variance = float(squares.sum())
        result.append(whole._replace(variance=variance, down=down, returns=float(STEPS)))
        previous = path[-1]
    return result


def write_bars(path: Path, sigmas: Array, seed: int) -> None:
    """Write a CSV of bars in the form of exchanges."""
    rows = ["ts,open,high,low,close,volume"]
    previous = 100.0
    for bar in bars(sigmas, seed):
        time = np.datetime64(bar.minute * 60, "s")
        high, low = max(bar.high, previous), min(bar.low, previous)
        numbers = (previous, high, low, bar.close)
        rows.append(f"{time}Z,{','.join(map(repr, numbers))},{bar.volume!r}")
        previous = bar.close
    path.write_text("\n".join(rows))
