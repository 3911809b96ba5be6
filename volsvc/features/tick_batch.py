"""Columns of ticks as the records that kernels read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from volsvc.domain.tick_columns import NO_NUMBER, TickColumns
from volsvc.features.kernels.apply import TICK
from volsvc.features.kernels.tick_check import NO_IDENTITY

# The content of a tick of which the identity is made: a form for those with a sequence, and one for
# the others.
_NUMBERED: Final = np.dtype([("time_ns", "<i8"), ("sequence", "<i8")])
_PRICED: Final = np.dtype(
    [
        ("time_ns", "<i8"),
        ("price", "<f8"),
        ("best_bid", "<f8"),
        ("best_ask", "<f8"),
        ("size", "<f8"),
        ("side", "i1"),
    ]
)


def tick_batch(
    ticks: TickColumns,
    rows: Sequence[int] | NDArray[np.int64],
    sources: Mapping[str, int] | None = None,
) -> NDArray[Any]:
    """Return ticks as an array of TICK, of shape (ticks,).

    `rows` are those of the states of their symbols. `sources` number the origins that are told
    apart; others have the next number. The place in the log is left 0.
    """
    numbers = sources or {}
    batch = np.zeros(len(ticks), TICK)
    batch["symbol"] = rows
    batch["time_ns"] = ticks.time_ns
    batch["price"] = ticks.feature_price
    batch["volume"] = np.where(ticks.size > 0, ticks.size, 0.0)
    batch["trade_id"] = ticks.trade_id
    batch["identity"] = identities(ticks)
    batch["quoted"] = ~np.isnan(ticks.best_bid)
    known = np.array([numbers.get(name, len(numbers)) for name in ticks.sources], np.int64)
    batch["source"] = known[ticks.source]
    return batch


def identities(ticks: TickColumns) -> NDArray[np.int64]:
    """Return numbers that distinguish the ticks of a symbol: the trade id where there is one.

    Others are below NO_IDENTITY, and the same in every process.
    """
    found = ticks.trade_id.copy()
    # The sequence alone is not enough, since it restarts after a reconnect.
    unnumbered = ticks.sequence == NO_NUMBER
    without_id = found == NO_NUMBER
    for chosen, content in ((~unnumbered, _NUMBERED), (unnumbered, _PRICED)):
        places = np.flatnonzero(without_id & chosen)
        if len(places):
            found[places] = _hashed(ticks.take(places), content)
    return found


def _hashed(ticks: TickColumns, content: np.dtype[Any]) -> NDArray[np.int64]:
    packed = np.zeros(len(ticks), content)
    for name in content.names or ():
        column = getattr(ticks, name)
        # All NaN are one, whatever their bits.
        packed[name] = np.where(np.isnan(column), np.nan, column)
    each, data = content.itemsize, packed.tobytes()
    digests = [
        blake2b(data[at : at + each], digest_size=8).digest() for at in range(0, len(data), each)
    ]
    numbers = np.frombuffer(b"".join(digests), "<i8")
    return NO_IDENTITY - 1 - (numbers & (2**63 - 4))
