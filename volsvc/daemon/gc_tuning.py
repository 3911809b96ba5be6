"""Settings of the garbage collector that keep its pauses short.

A full collection visits every object and delays requests meanwhile: 150 ms for a thousand symbols.
States of symbols hold no cycles, so it finds nothing in them, and they are frozen. A collection of
young objects visits everything that they hold, which is milliseconds for states being replaced, so
such collections are made more often and smaller.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Final

CHECK_S: Final = 1.0
# Of the three generations, see `gc.set_threshold`; the default is 700, 10, 10.
THRESHOLDS: Final = (300, 3, 50)
# Growth of the number of symbols between freezes. Freezes are few, because garbage that exists at a
# freeze is never collected.
GROWTH: Final = 1.25


async def tune_gc(symbols: Callable[[], int]) -> None:
    """Freeze existing objects, and again whenever the number of symbols has grown by a quarter."""
    gc.set_threshold(*THRESHOLDS)
    gc.collect()
    gc.freeze()
    frozen = 1
    while True:
        await asyncio.sleep(CHECK_S)
        if symbols() >= frozen * GROWTH:
            gc.freeze()
            frozen = symbols()
