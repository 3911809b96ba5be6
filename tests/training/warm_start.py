"""The first hour of symbols that begin with bars, against the same hour of watched symbols.

`python -m tests.training.warm_start FOLDER…` prints both by horizon, of generated markets of some
weeks, and of the recordings of ticks in the folders.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tests.reading import ticks_in
from volsvc.config.settings import FeatureSettings
from volsvc.domain import HORIZON_MINUTES, NS
from volsvc.domain.minute_bars import PastBars
from volsvc.domain.tick_columns import TickColumns, columns_of_ticks
from volsvc.features import FLOOR_PER_MINUTE, SymbolTable, apply_recording
from volsvc.features.bars import apply_past
from volsvc.features.kernels.points import MINUTE
from volsvc.models import HORIZONS_S, Model, SymbolForecasts, packaged
from volsvc.sources.generator import Generator, GeneratorSpec, MarketSpec
from volsvc.sources.history import bars_of_ticks
from volsvc.sources.recordings.paths import recordings_in

Array = NDArray[np.float64]

MINUTE_NS: Final = 60 * NS
DAY: Final = 1_440
START_NS: Final = 1_790_000_000 * NS
# Minutes of bars before a start, and of forecasts after it.
BARS: Final = 14 * DAY
HOUR: Final = 60


class Ended(NamedTuple):
    """The end of a minute: its realised variance, and the forecasts (horizons, NUMBERS)."""

    variance: float
    numbers: Array


class Compared(NamedTuple):
    """Both on the same outcomes, of shape (forecasts,): losses, ln of the ratio of variances."""

    watched: Array
    warmed: Array
    log_ratio: Array
    covered_watched: Array
    covered_warmed: Array


def minutes_of(table: SymbolTable, model: Model, ticks: TickColumns) -> Mapping[int, Ended]:
    """Apply ticks, and return the minutes that end."""
    found = {}
    for applied in apply_recording(table, [ticks], Counter()):
        points = applied.points[applied.points["kind"] == MINUTE].copy()
        if not len(points):
            continue
        forecasts = SymbolForecasts(table, model, points, HORIZONS_S)
        forecasts.settle_without_outcomes()
        bars = points["bar"]
        ends = zip(bars["minute"].tolist(), bars["variance"].tolist(), strict=True)
        for (minute, variance), numbers in zip(ends, forecasts.numbers, strict=True):
            found[minute] = Ended(variance, numbers)
    return found


def compare(model: Model, ticks: TickColumns, starts: Sequence[int]) -> list[Compared]:
    """Compare the hours after some minutes, by horizon; `ticks` are of one symbol."""
    symbol = ticks.symbols[int(ticks.symbol[0])]
    watched = minutes_of(SymbolTable(FeatureSettings()), model, ticks)
    bars = bars_of_ticks([ticks])[symbol]
    minutes = ticks.time_ns // MINUTE_NS
    rows: list[list[tuple[float, ...]]] = [[] for _ in HORIZON_MINUTES]
    for place, start in enumerate(starts):
        # At any second of a minute.
        first = int(np.searchsorted(ticks.time_ns, start * MINUTE_NS + place * 17 % 60 * NS))
        last = int(np.searchsorted(minutes, start + HOUR + 1))
        table = SymbolTable(FeatureSettings())
        past = bars.between(start - BARS, int(minutes[first]))
        points = apply_past(table, PastBars(symbol, "file", past), 0, 0)
        SymbolForecasts(table, model, points, HORIZONS_S).settle_without_outcomes()
        warmed = minutes_of(table, model, ticks.take(slice(first, last)))
        for minute in range(start, start + HOUR):
            for horizon, ahead in enumerate(HORIZON_MINUTES):
                outcomes = [watched.get(minute + 1 + passed) for passed in range(ahead)]
                known = [one.variance for one in outcomes if one is not None]
                if len(known) == ahead and minute in warmed:
                    realised = max(sum(known), FLOOR_PER_MINUTE * ahead)
                    both = watched[minute].numbers[horizon], warmed[minute].numbers[horizon]
                    rows[horizon].append(_judged(*both, realised))
    return [Compared(*np.array(found).T) for found in rows]


def _judged(watched: Array, warmed: Array, realised: float) -> tuple[float, ...]:
    ratios = [realised / float(sigma) ** 2 for sigma in (watched[0], warmed[0])]
    losses = [ratio - np.log(ratio) - 1 for ratio in ratios]
    covered = [bool(one[1] <= realised**0.5 <= one[2]) for one in (watched, warmed)]
    return (*losses, 2 * float(np.log(warmed[0] / watched[0])), *covered)


def generated(seed: int, days: int, ticks_per_s: float = 1.0) -> TickColumns:
    """Return the ticks of a generated market."""
    spec = GeneratorSpec(("A-USD",), seed, START_NS)
    market = Generator(spec, lambda symbol: MarketSpec(70_000.0, ticks_per_s=ticks_per_s)).ticks()
    end_ns = START_NS + days * DAY * MINUTE_NS
    made = takewhile(lambda one: one.tick.time_ns < end_ns, market)
    return columns_of_ticks([one.tick for one in made])


def starts_in(ticks: TickColumns, after: int, step: int) -> list[int]:
    """Return every so many minutes of a recording, some time after its beginning."""
    first, last = (int(ticks.time_ns[place]) // MINUTE_NS for place in (0, -1))
    return list(range(first + after, last - 2 * HOUR, step))


def report(name: str, found: Sequence[Compared]) -> Iterator[str]:
    """Yield a line for each horizon."""
    yield f"{name}, {len(found[0].watched)} forecasts"
    for ahead, one in zip(HORIZON_MINUTES, found, strict=True):
        watched, warmed = one.watched.mean(), one.warmed.mean()
        yield (
            f"  {ahead:2} min: QLIKE {watched:.4f} watched, {warmed:.4f} warmed "
            f"({warmed / watched - 1:+.1%}); variance {np.expm1(one.log_ratio.mean()):+.1%}, "
            f"covered {one.covered_watched.mean():.3f} and {one.covered_warmed.mean():.3f}"
        )


def main() -> None:
    """Print the comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3])
    parser.add_argument("--days", type=int, default=24)
    options = parser.parse_args()
    model = packaged().model
    for seed in options.seeds:
        ticks = generated(seed, options.days)
        for line in report(f"seed {seed}", compare(model, ticks, starts_in(ticks, BARS, 193))):
            print(line, flush=True)
    for file in (file for folder in options.folders for file in recordings_in(folder)):
        ticks = columns_of_ticks(ticks_in(file, symbol="A-USD"))
        starts = starts_in(ticks, 14 * HOUR, 41)
        if starts:
            for line in report(file.name, compare(model, ticks, starts)):
                print(line, flush=True)


if __name__ == "__main__":
    main()
