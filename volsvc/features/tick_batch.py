"""Ticks as the columns that kernels read."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from volsvc.domain import Tick
from volsvc.features.kernels.apply import TICK
from volsvc.features.kernels.tick_check import NO_IDENTITY

_NONE: Final = float("nan")
_SIDES: Final[Mapping[str | None, int]] = {None: 0, "buy": 1, "sell": 2}


def tick_batch(
    ticks: Sequence[Tick], symbols: Sequence[int], sources: Mapping[str, int] | None = None
) -> NDArray[Any]:
    """Return ticks as an array of TICK, of shape (ticks,).

    `symbols` are the rows of their states. `sources` number the origins that are told apart; others
    have the next number. The place in the log is left 0.
    """
    numbers = sources or {}
    batch = np.zeros(len(ticks), TICK)
    batch["symbol"] = symbols
    batch["time_ns"] = [tick.time_ns for tick in ticks]
    batch["price"] = [tick.feature_price for tick in ticks]
    batch["volume"] = [tick.size or 0.0 for tick in ticks]
    batch["trade_id"] = [-1 if tick.trade_id is None else tick.trade_id for tick in ticks]
    batch["identity"] = [
        identity(tick) if tick.trade_id is None else tick.trade_id for tick in ticks
    ]
    batch["quoted"] = [tick.best_bid is not None for tick in ticks]
    batch["source"] = [numbers.get(tick.source, len(numbers)) for tick in ticks]
    return batch


def identity(tick: Tick) -> int:
    """Return a number that distinguishes a tick without a trade id from others of its symbol.

    It is below NO_IDENTITY, and the same in every process.
    """
    # The sequence alone is not enough, since it restarts after a reconnect.
    if tick.sequence is not None:
        content = struct.pack("<2q", tick.time_ns, tick.sequence)
    else:
        prices = (tick.best_bid, tick.best_ask, tick.size)
        content = struct.pack(
            "<q4db",
            tick.time_ns,
            tick.price,
            *(_NONE if price is None else price for price in prices),
            _SIDES.get(tick.side, 3),
        )
    number: int
    (number,) = struct.unpack("<q", blake2b(content, digest_size=8).digest())
    return NO_IDENTITY - 1 - (number & (2**63 - 4))
