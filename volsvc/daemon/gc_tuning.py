"""Keeps garbage collections short: what stays is left out, and the others come more often.

A full collection visits every object, and holds requests up meanwhile: a thousand symbols take it
150 ms. States hold no cycles, so there is nothing in them to be found. A collection of young
objects visits everything in them, which for states on their way out is milliseconds.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Final

LOOK_S: Final = 1.0
# Of the three generations, see `gc.set_threshold`; by themselves they would be 700, 10, 10.
THRESHOLDS: Final = (300, 3, 50)
# From one freeze to the next; few freezes, because garbage that one meets stays for good.
GROWTH: Final = 1.25


async def tune_gc(symbols: Callable[[], int]) -> None:
    """Freeze what is there now, and again whenever the number of symbols has grown by a quarter."""
    gc.set_threshold(*THRESHOLDS)
    gc.collect()
    gc.freeze()
    frozen = 1
    while True:
        await asyncio.sleep(LOOK_S)
        if symbols() >= frozen * GROWTH:
            gc.freeze()
            frozen = symbols()
