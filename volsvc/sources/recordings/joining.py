"""Several files of ticks as one stream, in the order of their times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from volsvc.domain import InvalidTickError, NotATickError, SourceError, Tick

Parsed = Tick | InvalidTickError | NotATickError
# Later than any time.
_NEVER = 2**63


class TickRows(NamedTuple):
    """Rows of a file: the line of each, and its tick or its error.

    Empty for a step that has come to no row. `others` are lines with a message that has no tick.
    """

    file: str
    lines: Sequence[int]
    found: Sequence[Parsed]
    others: int = 0


class _Stream:
    """The rows of one file that are still to be given, and the time that they have reached.

    That time never goes back, so that a file which is out of order stays as it is.
    """

    def __init__(self, steps: Iterator[TickRows], start_ns: int, name: str) -> None:
        self._steps = steps
        self.name = name
        self.symbols: set[str] = set()
        self.reached_ns = start_ns
        self._step: TickRows | None = None
        self._at = 0

    def until(self, limit_ns: int) -> Iterator[TickRows]:
        """Yield rows up to a time, and at least one step."""
        while True:
            step = self._step or next(self._steps, None)
            if step is None:
                self.reached_ns = _NEVER
                return
            start, self._step, self._at = self._at, None, 0
            end = self._end_of(step, start, limit_ns)
            if end < len(step.found):
                self._step, self._at = step, end
            if start or end < len(step.found):
                # Other messages count once, with the first rows of their step.
                others = 0 if start else step.others
                yield TickRows(step.file, step.lines[start:end], step.found[start:end], others)
            else:
                yield step
            if self._step or self.reached_ns > limit_ns:
                return

    def _end_of(self, step: TickRows, start: int, limit_ns: int) -> int:
        """Return where the rows after `limit_ns` begin in a step, and note the time reached."""
        # The last file is open alone.
        for at in range(start, len(step.found) if limit_ns < _NEVER else start):
            tick = step.found[at]
            if isinstance(tick, Tick) and tick.time_ns > self.reached_ns:
                self.reached_ns = tick.time_ns
                if tick.time_ns > limit_ns:
                    return at
        return len(step.found)


def joined(
    files: Sequence[Iterator[TickRows]], starts_ns: Sequence[int], names: Sequence[str]
) -> Iterator[TickRows]:
    """Yield the rows of files whose first ticks have the given times, which rise.

    A file is opened when its first time has come. Of equal times the earlier file's come first.
    Raises SourceError if files of different `names` have ticks of one symbol at the same times:
    they are of two venues, whose prices must not be one series.
    """
    of_files = zip(files, starts_ns, names, strict=True)
    waiting = [_Stream(steps, start, name) for steps, start, name in of_files]
    opened: list[_Stream] = []
    while waiting or opened:
        least = min((stream.reached_ns for stream in opened), default=_NEVER)
        while waiting and waiting[0].reached_ns <= least:
            opened.append(waiting.pop(0))
            least = min(least, opened[-1].reached_ns)
        # The first of those with the least time: `min` keeps their order.
        at, stream = min(enumerate(opened), key=lambda item: item[1].reached_ns)
        # Up to the time of an earlier file, and up to and with that of a later one.
        limits = [one.reached_ns - (other < at) for other, one in enumerate(opened) if other != at]
        limits += [one.reached_ns for one in waiting[:1]]
        for step in stream.until(min(limits, default=_NEVER)):
            if len(opened) > 1:
                _check_apart(stream, step, opened)
            yield step
        opened = [one for one in opened if one.reached_ns < _NEVER]


def _check_apart(stream: _Stream, step: TickRows, opened: Sequence[_Stream]) -> None:
    """Raise SourceError if another open file of another name has a symbol of these rows."""
    stream.symbols.update(tick.symbol for tick in step.found if isinstance(tick, Tick))
    for other in opened:
        if other.name != stream.name and not stream.symbols.isdisjoint(other.symbols):
            symbol = min(stream.symbols & other.symbols)
            raise SourceError(
                f"{step.file}: has ticks of {symbol} at the times of another file, {other.name!r}; "
                "if they are of two venues, read them one by one, or name the venue in a column "
                "'exchange'"
            )
