"""A recording of ticks: a file, a pipe, or many files that are joined in time."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import msgspec

from volsvc.domain import (
    InvalidTickError,
    NotATickError,
    SourceError,
    Tick,
    is_symbol,
    tick_from_record,
)
from volsvc.domain.fields import time_of
from volsvc.domain.records import field_of, has_field
from volsvc.domain.texts import plain_text
from volsvc.domain.tick_columns import columns_of_ticks
from volsvc.sources.recordings.file_names import name_without_digits, named_options, warn_of_name
from volsvc.sources.recordings.joining import joined
from volsvc.sources.recordings.messages import ticks_of_message
from volsvc.sources.recordings.paths import files_of
from volsvc.sources.recordings.symbols import Exchanges, NamesRead
from volsvc.sources.recordings.tables.json_lines import Records
from volsvc.sources.recordings.tables.options import RowOptions
from volsvc.sources.recordings.tables.pipes import is_pipe
from volsvc.sources.recordings.tables.table import Table
from volsvc.sources.recordings.tick_rows import Fault, TickRows
from volsvc.sources.recordings.ticks import TickReader, block_of_ticks
from volsvc.telemetry.logs import get_logger

log = get_logger(__name__)

# In the place of a row that has none.
_NO_TICK: Final = Tick("", 0, 0.0)
# Rows among which one has to be a tick.
CHECKED_ROWS = 1_000


class TickFile:
    """A file or a pipe of ticks; `options.symbol` is that of rows without one.

    Without it the symbol is that of the file's name; the rows of a pipe need one then.
    """

    def __init__(self, path: Path, options: RowOptions) -> None:
        self.table = Table(path, options)
        if not self.table.is_pipe:
            self.table.options = named_options(path, options)

    def rows(self, names: NamesRead) -> Generator[TickRows]:
        """Yield the rows from the start; raises SourceError if the file holds bars."""
        reader: TickReader | None = None
        for block in self.table.blocks():
            if block is None:
                yield TickRows.of_file(self.table.label)
                continue
            if self.table.kind == "bars":
                raise SourceError(f"{self.table.label}: holds bars, not ticks; forecast reads them")
            if reader is None:
                style = self.table.format.style if self.table.format else ""
                style = "ndjson" if style == "array" else style
                reader = TickReader(self.table.options, names, style)
            if isinstance(block, Records):
                columns = block_of_ticks(block)
                if columns is None:
                    yield self._of_records(block, names)
                    continue
                block = columns
            yield TickRows.of_file(self.table.label, block.lines, *reader.read(block))

    def _of_records(self, records: Records, names: NamesRead) -> TickRows:
        lines: list[int] = []
        ticks: list[Tick] = []
        faults: dict[int, Fault] = {}
        others = 0
        options = self.table.options
        parse_time = partial(time_of, latest_ns=options.latest_ns, time_format=options.time_format)
        for line, record in zip(records.lines, records.found, strict=True):
            parsed: Sequence[Tick | Fault]
            if isinstance(record, InvalidTickError):
                parsed = (record,)
            elif isinstance(record, list):
                raise SourceError("an array of both arrays and objects is not understood")
            else:
                # A message without ticks is a line without a row.
                parsed = self._of_record(record, names.exchanges, parse_time)
                others += not parsed
            for one in parsed:
                if not isinstance(one, Tick):
                    faults[len(lines)], one = one, _NO_TICK
                lines.append(line)
                ticks.append(one)
        columns = columns_of_ticks(ticks, names.symbols, names.sources)
        return TickRows.of_file(self.table.label, lines, columns, faults, others)

    def _of_record(
        self,
        record: dict[str, Any],
        exchanges: Exchanges,
        parse_time: Callable[[object], int],
    ) -> Sequence[Tick | Fault]:
        messages = ticks_of_message(record)
        if messages is not None:
            return messages
        options = self.table.options
        # A record with an empty symbol is not one of the file's name.
        named = options.is_named and has_field(record, "symbol")
        symbol = None if named else options.symbol
        try:
            tick = tick_from_record(record, default_symbol=symbol, source="ndjson", time=parse_time)
        except (InvalidTickError, NotATickError) as error:
            return (error,)
        exchange = field_of(record, "exchange")
        if exchange is None:
            return (tick,)
        name = exchanges.name(tick.symbol, exchange)
        return (tick if name == tick.symbol else msgspec.structs.replace(tick, symbol=name),)

    def until_tick(self, steps: Iterator[TickRows]) -> Iterator[TickRows]:
        """Yield steps up to the first with a tick; raises SourceError if it does not come soon."""
        first, count = "", 0
        for step in steps:
            yield step
            if len(step.faults) < len(step):
                return
            if len(step) and not first:
                first = f"line {step.lines[0]}: {step.faults[0]}"
            count += len(step)
            if count >= CHECKED_ROWS:
                break
        if not first:
            raise EmptyFileError(f"{self.table.label}: holds no rows")
        raise SourceError(f"{self.table.label}: no row is a tick; {first}")

    def first_time(self) -> int:
        """Return the time of the first tick; raises SourceError if there is none at the start."""
        with closing(self.rows(NamesRead())) as steps:
            *_, step = self.until_tick(steps)
        tick = next(step.ticks.take(step.are_ticks).ticks())
        if self.table.options.is_named and tick.symbol == self.table.options.symbol:
            warn_of_name(self.table.path, tick.symbol)
        return tick.time_ns


class EmptyFileError(SourceError):
    """A file without a row, as a recorder leaves it that has just begun."""


class Recording:
    """A file, a pipe, a folder or a pattern of files of ticks, as one stream.

    Each call of `rows` reads it from its start; a pipe can be read only once. Of several files each
    is begun when the time of its first tick has come, and files that overlap are merged in time.
    """

    def __init__(self, paths: Sequence[Path], options: RowOptions) -> None:
        """Raises SourceError if there is no file, or if the symbol is not valid."""
        if options.symbol is not None and not is_symbol(options.symbol):
            raise SourceError(f"{options.symbol!r} is not a valid symbol name")
        files = files_of(paths)
        self.is_pipe = any(map(is_pipe, files))
        if self.is_pipe and len(files) > 1:
            raise SourceError("a pipe is a recording of its own: name no other file with it")
        self._path = paths[0]
        self._files = [TickFile(file, options) for file in files]
        self.label = self._files[0].table.label
        if len(files) > 1:
            more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            self.label = f"{paths[0]}{more}"
        self._opened_ns = time.time_ns()
        self._starts: list[int] = []

    @property
    def identity(self) -> str:
        """The recording's name with a digest of the sizes and the first 64 KiB of its files.

        Each reading of a pipe has its own name: nobody knows if it is the same again.
        """
        name = plain_text(self._path.name, 255)
        if self.is_pipe:
            return f"{name}@{self._opened_ns}"
        digest = hashlib.sha256()
        for file in self._files:
            path = file.table.path
            # Not of the whole file, which may have gigabytes.
            with path.open("rb") as opened:
                digest.update(opened.read(65_536) + str(path.stat().st_size).encode())
        return f"{name}@{digest.hexdigest()[:12]}"

    @property
    def tables(self) -> Sequence[Table]:
        """The files, in the order of their first ticks once `check` has been called."""
        return [file.table for file in self._files]

    def check(self) -> None:
        """Read the first rows of each file; raises SourceError if none of them is a tick.

        Of several files one may be empty. The rows of a pipe are checked as they come.
        """
        if self.is_pipe or self._starts:
            return
        starts = []
        for file in self._files:
            try:
                starts.append((file.first_time(), file))
            except EmptyFileError:
                if len(self._files) == 1:
                    raise
                log.warning("file_is_empty", file=file.table.label)
        if not starts:
            raise SourceError(f"{self.label}: holds no rows")
        # Sorted by time alone: files of one time stay in the order of their names.
        starts.sort(key=itemgetter(0))
        self._files = [file for _, file in starts]
        self._starts = [first for first, _ in starts]

    @property
    def fraction(self) -> float:
        """Share of the recording that `rows` has read so far, from 0 to 1; 0 for a pipe."""
        return sum(file.table.fraction for file in self._files) / len(self._files)

    def rows(self) -> Iterator[TickRows]:
        """Yield the rows in steps; a damaged end of a file is the last row of it.

        No step takes long, whatever the file holds. Raises SourceError if it cannot be read, and if
        none of the first rows is a tick.
        """
        names = NamesRead()
        if self.is_pipe:
            (file,) = self._files
            steps = file.rows(names)
            yield from file.until_tick(steps)
            yield from steps
        elif len(self._files) == 1:
            yield from self._files[0].rows(names)
        else:
            self.check()
            streams = [file.rows(names) for file in self._files]
            told_apart = [name_without_digits(file.table.path) for file in self._files]
            yield from joined(streams, self._starts, told_apart)
