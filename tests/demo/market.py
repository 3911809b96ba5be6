"""Recordings for the demo: calm markets, and the day on which a storm breaks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

SYMBOLS: Final = {"BTC-USD": 68_000.0, "ETH-USD": 2_400.0, "SOL-USD": 150.0}
TICK_S: Final = 6
SIGMA: Final = 6e-4
"""Of a minute, while it is calm."""
STORM: Final = 6.0
"""So many times that, in the storm."""
MEMORY_MINUTES: Final = 30.0
SPREAD: Final = 0.35
"""Of the logarithm of a minute's volatility, which wanders and comes back."""
LONGEST_HOURS: Final = 24 * 7
START: Final = datetime(2026, 11, 23, tzinfo=UTC)

Array = NDArray[np.float64]


def write(path: Path, hours: range, seed: int, storm_from: int | None = None) -> None:
    """Write ticks of all symbols in these hours after START as CSV.

    What is written of one seed goes on where another recording of it ends, as long as both know of
    the same storm.
    """
    rng = np.random.default_rng(seed)
    whole = np.arange(LONGEST_HOURS * 3600 // TICK_S) * TICK_S / 3600
    weather = np.where(whole >= (LONGEST_HOURS if storm_from is None else storm_from), STORM, 1.0)
    prices = {name: _prices(level, weather, rng) for name, level in SYMBOLS.items()}
    with path.open("w") as file:
        file.write("time,symbol,price,best_bid,best_ask,size\n")
        for step in np.flatnonzero((whole >= hours.start) & (whole < hours.stop)).tolist():
            time = (START + timedelta(seconds=step * TICK_S)).isoformat()
            for name, column in prices.items():
                mid = column[step]
                file.write(f"{time},{name},{mid:.8g},{mid * 0.99995:.9g},{mid * 1.00005:.9g},1\n")


def _prices(level: float, factors: Array, rng: np.random.Generator) -> Array:
    keep = 0.5 ** (TICK_S / 60 / MEMORY_MINUTES)
    shocks = rng.normal(0, SPREAD * np.sqrt(1 - keep**2), len(factors))
    mood, moods = 0.0, np.empty(len(factors))
    for step, shock in enumerate(shocks):
        mood = keep * mood + shock
        moods[step] = mood
    sigma = SIGMA * np.sqrt(TICK_S / 60) * factors * np.exp(moods)
    path: Array = np.cumsum(rng.normal(0, 1, len(factors)) * sigma)
    return level * np.exp(path)
