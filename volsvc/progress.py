"""Progress of a command: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

LINE_EVERY_S = 5.0


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int], None]]:
    """Show on standard error how many rows are done, and how fast."""
    console = Console(stderr=True)
    if console.is_terminal:
        with _bar(what, console) as advance:
            yield advance
        return
    lines = _Lines(what)
    yield lines.advance
    lines.say("done")


@contextmanager
def _bar(what: str, console: Console) -> Iterator[Callable[[int], None]]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.completed:,} rows"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(what, total=None, rate="")
        started = time.monotonic()
        done = 0

        def advance(rows: int) -> None:
            nonlocal done
            done += rows
            rate = done / max(time.monotonic() - started, 1e-9)
            progress.update(task, advance=rows, rate=f"{rate:,.0f}/s")

        yield advance


class _Lines:
    def __init__(self, what: str) -> None:
        self._what = what
        self._started = self._said = time.monotonic()
        self._rows = 0

    def advance(self, rows: int) -> None:
        self._rows += rows
        if time.monotonic() - self._said > LINE_EVERY_S:
            self.say("rows")
            self._said = time.monotonic()

    def say(self, word: str) -> None:
        import sys

        took = max(time.monotonic() - self._started, 1e-9)
        rate = self._rows / took
        print(f"{self._what}: {self._rows:,} {word}, {rate:,.0f}/s", file=sys.stderr)
