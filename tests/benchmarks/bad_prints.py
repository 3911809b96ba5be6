"""Rates of the filter of bad prints on recordings: `python -m tests.benchmarks.bad_prints FILE…`.

For each recording of ticks or bars it prints how many ticks are held, how many of these the next
tick confirms and how many are dropped, and the share of planted prints that is found. Bars give one
tick a minute, their close. Every tick counts as a true one, so a dropped tick is a false alarm.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from itertools import islice
from pathlib import Path

from msgspec.structs import replace

from volsvc.config.settings import FeatureSettings, load_settings
from volsvc.daemon.listeners import PartsListener
from volsvc.domain import Tick
from volsvc.domain.tick_columns import TickColumns, columns_of_ticks
from volsvc.features import MINUTE_NS, SymbolTable, apply_recording
from volsvc.features.bars import minute_bars
from volsvc.features.kernels.tick_check import NEW
from volsvc.sources.factory import file_source
from volsvc.sources.recordings.bars import grouped, read_bars
from volsvc.sources.recordings.tables.options import RowOptions
from volsvc.telemetry.health import Health
from volsvc.telemetry.metrics import Metrics

# One planted print in so many ticks.
PLANTED_EVERY = 500
# Ticks that are applied at once.
PART = 4_096


@dataclass
class Rates:
    """Counts of ticks: accepted, held, dropped, planted, and planted ones that were dropped."""

    ticks: int = 0
    held: int = 0
    dropped: int = 0
    planted: int = 0
    found: int = 0

    def add(self, other: Rates) -> None:
        """Add the counts of another recording."""
        values = zip(astuple(self), astuple(other), strict=True)
        self.ticks, self.held, self.dropped, self.planted, self.found = (a + b for a, b in values)

    def text(self, name: str) -> str:
        """Return a line of a Markdown table."""
        million = 1e6 / max(self.ticks, 1)
        confirmed = f"{1 - self.dropped / self.held:.1%}" if self.held else "-"
        found = f"{self.found / self.planted:.1%}" if self.planted else "-"
        return (
            f"| {name} | {self.ticks:,} | {self.held} ({self.held * million:.1f} per million) "
            f"| {confirmed} | {self.dropped} ({self.dropped * million:.2f} per million) | {found} |"
        )


def ticks_of(path: Path) -> Iterator[Tick]:
    """Yield the ticks of a recording; of bars the closes, each at the end of its minute."""
    if not grouped([path], RowOptions()).bars:
        events = PartsListener(Metrics(), Health())
        yield from file_source(load_settings(None), [path], events).ticks()
        return
    for symbol, series in read_bars([path], RowOptions(bad_print_sigmas=0.0)).items():
        for minute, close in minute_bars(series)[["minute", "close"]].tolist():
            yield Tick(symbol, (minute + 1) * MINUTE_NS, close)


def planted(ticks: Iterable[Tick], size: float, seed: int = 7) -> Iterator[tuple[Tick, bool]]:
    """Yield ticks with prints among them that are off by a factor of 1 + size or its inverse."""
    rng = random.Random(seed)
    for tick in ticks:
        yield tick, False
        if rng.random() < 1 / PLANTED_EVERY:
            factor = 1 + size if rng.random() < 0.5 else 1 / (1 + size)
            bad = {"price": tick.price * factor, "best_bid": None, "best_ask": None}
            yield replace(tick, **bad, trade_id=None, sequence=None), True


def counted(ticks: Iterable[tuple[Tick, bool]], settings: FeatureSettings) -> Rates:
    """Return the counts of a stream of ticks, each with True if it was planted."""
    rates = Rates()

    def noted() -> Iterator[TickColumns]:
        left = iter(ticks)
        while part := list(islice(left, PART)):
            rates.planted += sum(is_planted for _, is_planted in part)
            yield columns_of_ticks([tick for tick, _ in part])

    for part in apply_recording(SymbolTable(settings), noted(), Counter()):
        results = part.results
        new = results["status"] == NEW
        rates.ticks += int(new.sum())
        # One that is held is new, and not applied yet.
        rates.held += int((new & (results["applied"] < 0).all(axis=1)).sum())
        rates.dropped += int(results["dropped"].sum())
    rates.found = min(rates.dropped, rates.planted)
    return rates


def main() -> None:
    """Print a table of the recordings, and their sum."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--sigmas", type=float, default=FeatureSettings().bad_print_sigmas)
    parser.add_argument("--planted", type=float, default=0.05, help="relative size, 0 for none")
    options = parser.parse_args()
    settings = FeatureSettings(bad_print_sigmas=options.sigmas)
    print("| recording | ticks | held | of these confirmed | dropped | planted ones found |")
    print("| --- | --- | --- | --- | --- | --- |")
    whole = Rates()
    for path in options.files:
        rates = counted(((tick, False) for tick in ticks_of(path)), settings)
        if options.planted:
            bad = counted(planted(ticks_of(path), options.planted), settings)
            rates.planted, rates.found = bad.planted, max(0, bad.dropped - rates.dropped)
        whole.add(rates)
        print(rates.text(path.name), flush=True)
    print(whole.text("all"))


if __name__ == "__main__":
    main()
