"""Progress of a command: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

BAR_EVERY_S = 0.1
LINE_EVERY_S = 5.0

Fraction = Callable[[], float]


@contextmanager
def progress_bar(what: str, fraction: Fraction) -> Iterator[Callable[[int], None]]:
    """Show on standard error how many rows are done, how fast, and the time that is left.

    `fraction` says how much of the whole is done, from 0 to 1.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        count = _Count(LINE_EVERY_S, lambda done: _say(f"{what}: {done.text(fraction())}"))
        yield count.advance
        end = "done" if fraction() >= 1 else "stopped"
        _say(f"{what}: {count.rows:,} rows, {end}, {count.rate:,.0f}/s")
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]:,} rows, {task.fields[rate]:,.0f}/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(what, total=1.0, rows=0, rate=0.0)

        def draw(done: _Count) -> None:
            progress.update(task, completed=fraction(), rows=done.rows, rate=done.rate)

        count = _Count(BAR_EVERY_S, draw)
        yield count.advance
        draw(count)


class _Count:
    """Rows so far; calls `show` now and then, since drawing at each row would cost more than it."""

    def __init__(self, every_s: float, show: Callable[[_Count], None]) -> None:
        self._every_s = every_s
        self._show = show
        self._started = self._shown = time.monotonic()
        self.rows = 0

    def advance(self, rows: int) -> None:
        self.rows += rows
        now = time.monotonic()
        if now - self._shown > self._every_s:
            self._shown = now
            self._show(self)

    @property
    def seconds(self) -> float:
        return max(time.monotonic() - self._started, 1e-9)

    @property
    def rate(self) -> float:
        return self.rows / self.seconds

    def text(self, done: float) -> str:
        left = f", {self.seconds * (1 / done - 1):.0f} s left" if done > 0 else ""
        share = f", {done:.0%}" if done > 0 else ""
        return f"{self.rows:,} rows{share}, {self.rate:,.0f}/s{left}"


def _say(text: str) -> None:
    print(text, file=sys.stderr)
