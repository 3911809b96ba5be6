"""Time of one fit, and profiles of it and of building its training table from bars."""

from __future__ import annotations

import cProfile
import pstats
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.benchmarks.figures import Figure, Results, Row
from tests.benchmarks.market import START_NS
from tests.benchmarks.rounds import Bench, on_server_cpu, turns
from volsvc.domain import NS
from volsvc.training.dataset import Minutes, load_panel
from volsvc.training.fit import FitSpec
from volsvc.training.pipeline import fit_horizon

MOST_SHOWN = 6
HORIZON_S = 60.0


def bars(path: Path, count: int) -> None:
    """Write minutes of a random walk with varying volatility as a CSV file.

    They end at START_NS, since times to come would be refused.
    """
    rng = np.random.default_rng(7)
    log_vol = np.log(5e-4) + 0.05 * np.cumsum(rng.normal(size=count)) / np.sqrt(30)
    moves = rng.normal(size=(count, 4)) * np.exp(np.clip(log_vol, -11, -5))[:, None] / 2
    walks = np.cumsum(moves, axis=1)
    begin = np.concatenate(([0.0], np.cumsum(walks[:, -1])[:-1]))
    paths = 30_000 * np.exp(begin[:, None] + np.column_stack((np.zeros(count), walks)))
    columns = (paths[:, 0], paths.max(axis=1), paths.min(axis=1), paths[:, -1])
    times = START_NS // NS + 60 * np.arange(-count, 0)
    lines = zip(times.tolist(), *(column.tolist() for column in columns), strict=True)
    text = "".join(f"{at},{o!r},{h!r},{low!r},{c!r},1.0\n" for at, o, h, low, c in lines)
    path.write_text(f"time,open,high,low,close,volume\n{text}")


def measure(bench: Bench) -> Results:
    """Measure a fit, and profile it and the table that it is made on; `versions` times that."""
    path, rows = bench.folder / "BTC-USD.csv", bench.sizes.training_rows
    bars(path, rows)
    cache = bench.folder / "cache"

    def table() -> list[Minutes]:
        shutil.rmtree(cache, ignore_errors=True)
        return load_panel([path], cache, lambda path: iter(()))

    def fit(panel: list[Minutes]) -> None:
        end = panel[0].start + len(panel[0])
        fit_horizon(panel, HORIZON_S, end, FitSpec())

    panel = table()
    (fitted,) = turns(bench.sizes.rounds, lambda: fit(panel))
    with on_server_cpu():
        notes = [
            f"Where the time of {what} goes: {profiled(work)}."
            for what, work in (("the training table", table), ("the fit", lambda: fit(panel)))
        ]
    return Results(
        [Row(f"one fit ({HORIZON_S:g} s) on {rows:,} minutes", Figure("volsvc", "s", fitted))],
        notes=notes,
    )


def profiled(work: Callable[[], object]) -> str:
    """Return the functions with the most time of their own, with their shares."""
    profile = cProfile.Profile()
    profile.runcall(work)
    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    total = sum(own for _, _, own, _, _ in stats.values())
    most = sorted(stats.items(), key=lambda item: item[1][2], reverse=True)[:MOST_SHOWN]
    return ", ".join(f"{name_of(*at)} {own / total:.0%}" for at, (_, _, own, _, _) in most)


def name_of(file: str, line: int, function: str) -> str:
    """Return a readable name of a function; built-in ones have neither file nor line."""
    if line == 0:
        return f"`{function.removeprefix('<').removesuffix('>')}`"
    return f"`{Path(file).stem}.{function}`"
