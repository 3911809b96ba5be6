"""The newest volsvc and volsvc 1.0.0 over the same ticks and files, in turns."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from tests.benchmarks.children import job, seconds_of
from tests.benchmarks.figures import Figure, Results, Row, Target, at_least, at_most, rates
from tests.benchmarks.fitting import bars
from tests.benchmarks.market import (
    COLUMNS,
    PER_S,
    SYMBOLS,
    recorded_rows,
    tick_records,
    warm_records,
)
from tests.benchmarks.recorded import write_records
from tests.benchmarks.rounds import MOST_ROUNDS, Bench, turns_of
from volsvc.commands.row_writer import write_rows

OURS, THEIRS = "jobs/versions.py", "peers/v1.py"
VERSIONS = ("volsvc", "volsvc 1.0.0")
# Ticks of a calm market in a minute: its end is to be measured too.
MINUTE = 60
# Minutes of a table that is built first, so that whatever is loaded once is loaded.
LITTLE = 200

Took = Mapping[str, float]


async def measure(bench: Bench) -> Results:
    """Measure ticks in process, a training table, and commands on files."""
    results = Results(await live(bench, SYMBOLS))
    results.rows += await live(bench, bench.sizes.points)
    results.rows += await training_table(bench)
    results.rows += await commands(bench)
    return results


async def both(bench: Bench, rounds: int, what: str, ours: Path, theirs: Path) -> list[list[Took]]:
    """Return the results of a job over files, and those of 1.0.0's if that is installed."""
    works: list[Callable[[], Awaitable[Took]]] = [
        lambda: job(sys.executable, OURS, what, ours, cwd=bench.folder)
    ]
    if bench.v1 is not None:
        python = bench.v1 / "python"
        # Nothing of this checkout is to be found there.
        works.append(lambda: job(python, THEIRS, what, theirs, cwd=bench.folder, PYTHONPATH=""))
    return await turns_of(rounds, *works)


def beside(what: str, ours: Figure, others: Sequence[Figure], target: Target) -> Row:
    """Return a row with the figure of 1.0.0, if there is one; without it no ratio is bound."""
    if not others:
        return Row(what, ours, None, target if target.of == "figure" else None)
    return Row(what, ours, others[0], target)


# --- ticks in process ---------------------------------------------------------------------


async def live(bench: Bench, symbols: int) -> list[Row]:
    """Measure ticks on the in-process bus, states alone, and the encoding of a record."""
    folder = bench.folder / f"live-{symbols}"
    folder.mkdir()
    each = max(2, bench.sizes.ticks // symbols)
    write_records(folder / "warm.records", warm_records())
    write_records(folder / "busy.records", tick_records(symbols, each, PER_S))
    write_records(folder / "calm.records", tick_records(symbols, min(3 * each, MINUTE)))
    found = await both(bench, bench.sizes.rounds, "live", folder, folder)

    def ticks_per_s(name: str) -> list[Figure]:
        return [
            rates(who, "ticks/s", 1e6, [one[name] for one in rounds])
            for who, rounds in zip(VERSIONS, found, strict=False)
        ]

    busy, *busy_v1 = ticks_per_s("busy")
    state, *state_v1 = ticks_per_s("state")
    bus = f"tick in, full state, features out, on the in-process bus, {symbols:,} symbols"
    alone = f"decoding, checks and state alone, {symbols:,} symbols"
    rows = [
        beside(bus, busy, busy_v1, at_least(7 if symbols == SYMBOLS else 6)),
        beside(alone, state, state_v1, at_least(5)),
    ]
    if symbols == SYMBOLS:
        (json, *_) = ticks_per_s("json")
        return [
            *rows,
            Row(bus, busy, Figure("JSON decoding alone", "ticks/s", json.rounds), at_least(0.12)),
        ]
    calm, *calm_v1 = ticks_per_s("calm")
    published, *published_v1 = (
        Figure(who, "µs", [one["published"] for one in rounds])
        for who, rounds in zip(VERSIONS, found, strict=False)
    )
    return [
        *rows,
        beside(f"{bus}, one tick a second each", calm, calm_v1, at_least(5)),
        beside(
            "publishing one symbol's second, state and forecasts, encoded",
            *(published, published_v1, at_most(30, "figure")),
        ),
    ]


# --- files --------------------------------------------------------------------------------


async def training_table(bench: Bench) -> list[Row]:
    """Measure the training table of a recording of bars."""
    minutes = bench.sizes.training_rows
    folder = bench.folder / "table"
    folder.mkdir()
    bars(folder / "little.csv", LITTLE)
    bars(folder / "bars.csv", minutes)
    found = await both(bench, bench.sizes.rounds, "table", folder, folder)
    ours, *others = (
        rates(who, "minutes/s", minutes, [one["seconds"] for one in rounds])
        for who, rounds in zip(VERSIONS, found, strict=False)
    )
    return [beside(f"training table of {minutes:,} minutes", ours, others, at_least(40))]


async def commands(bench: Bench) -> list[Row]:
    """Measure two commands on files from their start to their end."""
    year, ticks = bench.folder / "year.csv", bench.folder / "ticks.csv"
    minutes, count = bench.sizes.bars, bench.sizes.recorded
    bars(year, minutes)
    write_rows(ticks, COLUMNS, iter(recorded_rows(SYMBOLS, count // SYMBOLS, PER_S)))
    return [
        await command(
            bench,
            (f"`volsvc forecast` of {minutes:,} bars of a minute", "bars/s", minutes),
            ("forecast", "--data", str(year)),
            at_least(15),
        ),
        await command(
            bench,
            (f"`volsvc features` of {count:,} ticks", "ticks/s", count),
            ("features", str(ticks)),
            at_least(5),
        ),
    ]


async def command(
    bench: Bench, what: tuple[str, str, int], words: Sequence[str], target: Target
) -> Row:
    """Measure a command of both versions; `what` has its name, a unit, and the number of rows."""
    name, unit, rows = what
    out = ("--out", str(bench.folder / f"{words[0]}.csv"))
    ours_of = (sys.executable, "-m", "volsvc", *words, *out)
    works = [lambda: seconds_of(*ours_of, cwd=bench.folder)]
    if bench.v1 is not None:
        theirs_of = (str(bench.v1 / "volsvc"), *words, *out)
        works.append(lambda: seconds_of(*theirs_of, cwd=bench.folder, PYTHONPATH=""))
    rounds = min(bench.sizes.rounds, MOST_ROUNDS)
    found = await turns_of(rounds, *works)
    ours, *others = (
        rates(who, unit, rows, took) for who, took in zip(VERSIONS, found, strict=False)
    )
    return beside(name, ours, others, target)
