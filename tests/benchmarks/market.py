"""The ticks of the benchmarks: random walks, each symbol at the same steady rate."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from tests.applied import apply
from volsvc.config.settings import FeatureSettings
from volsvc.domain import NS, Tick
from volsvc.features import SymbolTable
from volsvc.transport import OutRecord
from volsvc.transport.codec import encode_tick

START_NS = 1_767_571_200 * NS
# Standard deviation of a tick's log return.
STEP = 3e-5
WALK = 100_000


@lru_cache(1)
def walk() -> list[float]:
    """Return the prices of one long walk, which each symbol reads from another offset."""
    moves = np.random.default_rng(7).normal(0, STEP, WALK)
    return [round(price, 2) for price in (50_000 * np.exp(np.cumsum(moves))).tolist()]


def symbol_of(number: int) -> str:
    """Return the name of a market."""
    return f"S{number}-USD"


def ticks(symbols: int, each: int, per_s: float = 1.0, start: int = 0) -> Iterator[Tick]:
    """Yield the ticks `start` to `start` + `each` of every symbol, in order of time.

    Every symbol has `per_s` ticks in a second of event time.
    """
    prices, gap_ns = walk(), NS / per_s
    for at in range(start, start + each):
        for number in range(symbols):
            price = prices[(at + 997 * number) % WALK]
            yield Tick(
                symbol=symbol_of(number),
                time_ns=START_NS + round((at + number / symbols) * gap_ns),
                price=price,
                best_bid=price - 0.01,
                best_ask=price + 0.01,
                size=0.5,
                side="buy",
                trade_id=at + 1,
                source="bench",
            )


def tick_records(symbols: int, each: int, per_s: float = 1.0, start: int = 0) -> list[OutRecord]:
    """Return the same ticks as records of `ticks.raw`."""
    return [encode_tick(tick) for tick in ticks(symbols, each, per_s, start)]


def warm_table(
    symbols: int, each: int, per_s: float = 1.0, settings: FeatureSettings | None = None
) -> SymbolTable:
    """Return the states of symbols after `each` ticks."""
    table = SymbolTable(settings or FeatureSettings(max_symbols=max(10_000, symbols)))
    for tick in ticks(symbols, each, per_s):
        absorb(table, tick)
    return table


def absorb(table: SymbolTable, tick: Tick) -> None:
    """Apply a tick to its state, and do nothing else."""
    state = table.state_for(tick.symbol, tick.time_ns)
    apply(state, tick)
    state.minutes.take_ended()
    state.take_due()
