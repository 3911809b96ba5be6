"""Progress of a command: a bar on a terminal, else a plain line from time to time."""

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
def progress_bar(title: str, share: Fraction | None = None) -> Iterator[Callable[[int], None]]:
    """Show rows done, rows per second and the time left on standard error.

    The block calls the function that it gets with the number of rows just done. `share` returns the
    part of the whole that is done, from 0 to 1; rows alone do not give it, because the number of
    rows of a file is not known before its end. Without it the end of the block is the whole.
    """
    fraction: Fraction = share or (lambda: 0.0)
    console = Console(stderr=True)
    if not console.is_terminal:
        counter = _RowCounter(LINE_EVERY_S, lambda done: _log(f"{title}: {done.text(fraction())}"))
        yield counter.advance
        end = "done" if share is None or share() >= 1 else "stopped"
        _log(f"{title}: {counter.rows:,} rows, {end}, {counter.rate:,.0f}/s")
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]:,} rows, {task.fields[rate]:,.0f}/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=1.0, rows=0, rate=0.0)

        def draw(done: _RowCounter) -> None:
            progress.update(task, completed=fraction(), rows=done.rows, rate=done.rate)

        counter = _RowCounter(BAR_EVERY_S, draw)
        yield counter.advance
        # The last rows came after the last drawing.
        draw(counter)


class _RowCounter:
    """The number of rows done so far; calls `show` at most once in `every_s` seconds.

    Drawing after each row would cost more than the row itself.
    """

    def __init__(self, every_s: float, show: Callable[[_RowCounter], None]) -> None:
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
        # The bound keeps the rate finite right after the start.
        return max(time.monotonic() - self._started, 1e-9)

    @property
    def rate(self) -> float:
        return self.rows / self.seconds

    def text(self, done: float) -> str:
        left = f", {self.seconds * (1 / done - 1):.0f} s left" if done > 0 else ""
        share = f", {done:.0%}" if done > 0 else ""
        return f"{self.rows:,} rows{share}, {self.rate:,.0f}/s{left}"


def _log(text: str) -> None:
    # Plain text: standard output may be a pipe that carries the result of the command.
    print(text, file=sys.stderr)
