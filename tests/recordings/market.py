"""Generated trades that arrive as those of a real venue: in bursts, at equal times, with pauses."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

# Trades a second in each minute: quiet ones, and a burst.
RATES = (2.0, 1.5, 0.1, 1.0, 0.8, 4.0, 0.7, 0.05, 0.6, 0.6)
# Probabilities: that an order is filled by more than one trade, that price and size stay the same.
SWEEP, SAME_PRICE, SAME_SIZE = 0.12, 0.7, 0.2
US = 1_000_000


class Trade(NamedTuple):
    """A trade: its time in µs, price and quotes in cents, size in units of 1e-8."""

    symbol: str
    time_us: int
    price: int
    bid: int
    ask: int
    size: int
    side: str
    trade_id: int
    sequence: int


class Market(NamedTuple):
    """A symbol, its price in cents and its activity; `silent` are seconds without trades."""

    symbol: str
    price: int
    activity: float
    trade_id: int
    sequence: int
    silent: Sequence[tuple[float, float]] = ()

    def trades(self, seed: int, start_us: int) -> Iterator[Trade]:
        """Yield the trades of ten minutes, oldest first."""
        dice = random.Random(f"{self.symbol}/{seed}")
        size, price, trade_id, sequence = 0, self.price, self.trade_id, self.sequence
        for at_us in self._orders(dice):
            side = dice.choice(("buy", "sell"))
            for fill in range(dice.randint(2, 6) if dice.random() < SWEEP else 1):
                if dice.random() > SAME_PRICE:
                    step = round(abs(dice.gauss(0, 2e-5)) * self.price) + 1
                    price += step if side == "sell" else -step
                # Small trades are usual, and equal ones in one order.
                if not fill or dice.random() > SAME_SIZE:
                    size = dice.randint(1, 200 if dice.random() < 0.3 else 5 * US)
                trade_id += 1
                sequence += dice.randint(2, 400)
                bid = price if side == "buy" else price - 1
                yield Trade(
                    self.symbol,
                    start_us + at_us,
                    price,
                    bid,
                    bid + 1,
                    size,
                    side,
                    trade_id,
                    sequence,
                )

    def _orders(self, dice: random.Random) -> Iterator[int]:
        """Yield the times of orders in µs from the start."""
        for minute, rate in enumerate(RATES):
            at = minute * 60.0
            while (at := at + dice.expovariate(rate * self.activity)) < (minute + 1) * 60:
                if not any(first <= at < last for first, last in self.silent):
                    yield round(at * US)
