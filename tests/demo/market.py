"""Recordings for the demo: generated markets, thinned, with coarse prices from some hour on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from volsvc.domain import NS, Tick, format_time, parse_time
from volsvc.sources.generator import Generator, GeneratorSpec

SYMBOLS: Final = ("BTC-USD", "ETH-USD", "SOL-USD")
# One tick of a symbol per this time is kept, so that a day can be replayed in a minute.
THINNED_S: Final = 5
# Size of a coarse price's steps: a tenth of a per cent.
COARSE: Final = 400
START_NS: Final = parse_time("2026-11-23T00:00:00Z")
HOUR_NS: Final = 3600 * NS


def write(path: Path, hours: range, seed: int, coarse_from: int | None = None) -> None:
    """Write the ticks of these hours after the start as CSV, with coarse prices from an hour on.

    Recordings of one seed go on where others end, as if they were cut from one.
    """
    first_ns, end_ns = START_NS + hours.start * HOUR_NS, START_NS + hours.stop * HOUR_NS
    coarse_ns = end_ns if coarse_from is None else START_NS + coarse_from * HOUR_NS
    steps: dict[str, float] = {}
    with path.open("w") as file:
        file.write("time,symbol,price,best_bid,best_ask,size\n")
        for tick in _thinned(seed, end_ns):
            step = steps.setdefault(tick.symbol, tick.price / COARSE)
            if tick.time_ns >= first_ns:
                file.write(_row(tick, step if tick.time_ns >= coarse_ns else None))


def _thinned(seed: int, end_ns: int) -> Iterator[Tick]:
    spec = GeneratorSpec(symbols=SYMBOLS, seed=seed, start_ns=START_NS)
    due = dict.fromkeys(SYMBOLS, START_NS)
    for tick, _, _ in Generator(spec).ticks():
        if tick.time_ns >= end_ns:
            return
        if tick.time_ns >= due[tick.symbol]:
            due[tick.symbol] = tick.time_ns + THINNED_S * NS
            yield tick


def _row(tick: Tick, step: float | None) -> str:
    prices = (tick.price, tick.best_bid or tick.price, tick.best_ask or tick.price)
    if step is not None:
        # Bid and ask of the same step, or the mid would be finer than they are.
        prices = (round(tick.price / step) * step,) * 3
    texts = ",".join(f"{price:.8g}" for price in prices)
    return f"{format_time(tick.time_ns)},{tick.symbol},{texts},{tick.size or 0}\n"
