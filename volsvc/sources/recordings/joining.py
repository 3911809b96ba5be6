"""Several files of ticks as one stream, in the order of their times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from volsvc.domain import SourceError
from volsvc.domain.tick_columns import Integers
from volsvc.sources.recordings.tick_rows import TickRows, sorted_rows

_NO_SYMBOL: Final = -1


class _Stream:
    """The rows of one file that are still to be given, and the times that they reach.

    These never go back, so that a file which is out of order stays as it is.
    """

    def __init__(self, steps: Iterator[TickRows], start_ns: int, name: str) -> None:
        self._steps = steps
        self.name = name
        self.start_ns = start_ns
        # By number, of the rows given while another file was open.
        self.symbols: set[int] = set()
        self.rows: TickRows | None = None
        self.reached_ns: Integers = np.array([start_ns])

    def read(self) -> Iterator[TickRows]:
        """Read on until there are rows or the file has ended; yield steps without rows."""
        while self.rows is None and (step := next(self._steps, None)) is not None:
            if not len(step):
                yield step
                continue
            reached_ns = np.where(step.are_ticks, step.ticks.time_ns, 0)
            reached_ns[0] = max(reached_ns[0], self.reached_ns[-1])
            self.rows, self.reached_ns = step, np.maximum.accumulate(reached_ns)

    def take(self, limit_ns: int, *, inclusive: bool) -> tuple[TickRows, Integers]:
        """Return the rows up to a time, and the times that they reach."""
        assert self.rows is not None, "rows have been read"
        end = int(np.searchsorted(self.reached_ns, limit_ns, "right" if inclusive else "left"))
        rows, reached_ns = self.rows, self.reached_ns
        self.rows = None
        if end < len(rows):
            self.rows, self.reached_ns = rows.part(end, len(rows)), reached_ns[end:]
        return rows.part(0, end), reached_ns[:end]


class _Part(NamedTuple):
    """Rows of a stream, and the times that they reach."""

    stream: _Stream
    rows: TickRows
    reached_ns: Integers

    @property
    def has_new_symbol(self) -> bool:
        """True if the stream has given no tick yet of one of the symbols."""
        symbols = np.unique(self.rows.ticks.symbol[self.rows.are_ticks]).tolist()
        return not self.stream.symbols.issuperset(symbols)


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
        for stream in opened:
            yield from stream.read()
        opened = [stream for stream in opened if stream.rows is not None]
        # Rows come in order up to the least time at which others may follow that are not read yet:
        # those of equal times, too, of this file and of earlier ones.
        ends = [int(stream.reached_ns[-1]) for stream in opened]
        ends += [stream.start_ns for stream in waiting[:1]]
        if not ends:
            return
        limit_ns = min(ends)
        last = ends.index(limit_ns)
        parts = [
            _Part(stream, *stream.take(limit_ns, inclusive=at <= last))
            for at, stream in enumerate(opened)
        ]
        parts = [part for part in parts if len(part.rows)]
        if parts:
            rows = sorted_rows([part.rows for part in parts], [part.reached_ns for part in parts])
            if len(opened) > 1 and any(part.has_new_symbol for part in parts):
                _check_apart([part.stream for part in parts], rows, opened)
            yield rows
        if last == len(opened):
            opened.append(waiting.pop(0))


def _check_apart(streams: Sequence[_Stream], rows: TickRows, opened: Sequence[_Stream]) -> None:
    """Raise SourceError if two open files of different names have a symbol of these rows.

    `streams` are those of the files of the rows.
    """
    symbols = np.where(rows.are_ticks, rows.ticks.symbol, _NO_SYMBOL)
    bounds = [0, *(np.flatnonzero(np.diff(rows.file)) + 1).tolist(), len(rows)]
    for start, end in pairwise(bounds):
        stream = streams[int(rows.file[start])]
        stream.symbols.update(symbols[start:end].tolist())
        stream.symbols.discard(_NO_SYMBOL)
        for other in opened:
            common = stream.symbols & other.symbols
            if other.name != stream.name and common:
                symbol = min(rows.ticks.symbols[number] for number in common)
                raise SourceError(
                    f"{rows.place(start)[0]}: has ticks of {symbol} at the times of another file, "
                    f"{other.name!r}; if they are of two venues, read them one by one, or name the "
                    "venue in a column 'exchange'"
                )
