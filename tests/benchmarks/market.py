"""The ticks of the benchmarks: random walks, each symbol at the same steady rate."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np

from volsvc.domain import NS, Tick
from volsvc.transport import OutRecord
from volsvc.transport.codec import encode_tick

# Busy markets: twenty ticks a second each, of which one is published with forecasts.
SYMBOLS, PER_S = 12, 20.0
START_NS = 1_767_571_200 * NS
# In the middle of a minute, whose end is as much work as some hundred ticks: in a short measurement
# it would weigh too much.
BEGIN_NS = START_NS + 30 * NS
# Standard deviation of a tick's log return.
STEP = 3e-5
WALK = 100_000
# The id of the tick at 0; those before it have ids too.
ZERO_ID = 10_000
# Columns of a recording.
COLUMNS = ("symbol", "time", "price", "best_bid", "best_ask", "size", "side", "trade_id")
# Symbols with prices of their own; further ones repeat them, so that states can be copied.
DIFFERENT = SYMBOLS
# Minutes, with a tick in each, that come before the other ticks: forecasts of all horizons have
# matured then. A state of less than a minute has no features, and the model reads no tree for it.
WARM_MINUTES = 70


@lru_cache(1)
def walk() -> list[float]:
    """Return the prices of one long walk, which each symbol reads from another offset.

    It ends where it begins, since who reads on begins again: a jump would be taken for a bad print.
    """
    moves = np.random.default_rng(7).normal(0, STEP, WALK)
    moves -= moves.mean()
    return [round(price, 2) for price in (50_000 * np.exp(np.cumsum(moves))).tolist()]


def symbol_of(number: int) -> str:
    """Return the name of a market."""
    return f"S{number}-USD"


def ticks(
    symbols: int, each: int, per_s: float = 1.0, start: int = 0, begin_ns: int = BEGIN_NS
) -> Iterator[Tick]:
    """Yield the ticks `start` to `start` + `each` of every symbol, in order of time.

    Every symbol has `per_s` ticks in a second of event time; those at 0 begin at `begin_ns`.
    """
    prices, gap_ns = walk(), NS / per_s
    for at in range(start, start + each):
        for number in range(symbols):
            price = prices[(at + 997 * (number % DIFFERENT)) % WALK]
            yield Tick(
                symbol=symbol_of(number),
                time_ns=begin_ns + round(at * gap_ns + number / symbols * min(gap_ns, NS)),
                price=price,
                best_bid=price - 0.01,
                best_ask=price + 0.01,
                size=0.5,
                side="buy",
                trade_id=ZERO_ID + at,
                source="bench",
            )


def tick_records(symbols: int, each: int, per_s: float = 1.0, start: int = 0) -> list[OutRecord]:
    """Return the same ticks as records of `ticks.raw`."""
    return [encode_tick(tick) for tick in ticks(symbols, each, per_s, start)]


def warm_records(symbols: int = DIFFERENT) -> list[OutRecord]:
    """Return the records of a tick in each minute, up to a second before those that start at 0."""
    first_ns = BEGIN_NS + 59 * NS
    warming = ticks(symbols, WARM_MINUTES, 1 / 60, -WARM_MINUTES, first_ns)
    return [encode_tick(tick) for tick in warming]


def recorded_rows(symbols: int, each: int, per_s: float) -> list[tuple[Any, ...]]:
    """Return the same ticks as rows of a recording, with the values of `COLUMNS`."""
    values = [record.value or b"" for record in tick_records(symbols, each, per_s)]
    return [tuple(tick[name] for name in COLUMNS) for tick in map(msgspec.json.decode, values)]
