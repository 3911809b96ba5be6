"""Blocks of Parquet files and of Arrow files (Feather)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from volsvc.domain import SourceError
from volsvc.domain.extras import needs_extra
from volsvc.sources.recordings.tables.blocks import Block
from volsvc.sources.recordings.tables.columns import plain
from volsvc.sources.recordings.tables.dialect import Dialect, lacking_column
from volsvc.sources.recordings.tables.options import RowOptions

# Rows that are converted at once: some milliseconds of work.
_ROWS = 8_192


class ArrowTable:
    """Reads the blocks of a Parquet or an Arrow file."""

    def __init__(self, path: Path, style: str, options: RowOptions) -> None:
        """Raises SourceError if the file cannot be read, or lacks a column."""
        try:
            from pyarrow import lib
        except ImportError as error:
            raise SourceError(needs_extra(f"{path}: {style}", "pyarrow")) from error
        self._style = style
        self._damage = lib.ArrowException
        try:
            self._file = self._opened(path)
        except (OSError, lib.ArrowException) as error:
            raise SourceError(f"{path}: {error}") from error
        # The physical columns: what pandas calls the index is one of them.
        names = [*(self._file.schema_arrow if style == "parquet" else self._file.schema).names]
        self.dialect = Dialect.of(names)
        if lacking := lacking_column(self.dialect.kind, names, options.symbol):
            raise SourceError(f"{path}: {lacking}")
        self._total = 0
        if style == "parquet":
            self._total = self._file.metadata.num_rows
        self._done = 0

    def _opened(self, path: Path) -> Any:
        import pyarrow as pa
        from pyarrow import parquet

        if self._style == "parquet":
            return parquet.ParquetFile(path)
        source = pa.memory_map(str(path))
        return pa.ipc.open_file(source) if self._style == "arrow" else pa.ipc.open_stream(source)

    @property
    def fraction(self) -> float:
        """The share of the rows that have been read; 0 if their number is not known."""
        return self._done / self._total if self._total else 0.0

    def blocks(self) -> Iterator[Block]:
        """Yield the rows of the file; raises EOFError where it is damaged."""
        names = tuple(self.dialect.names)
        used = sorted(set(self.dialect.fields.values()))
        try:
            for batch in self._batches(used):
                columns = {name: plain(batch.column(name)) for name in used}
                lines = range(self._done + 1, self._done + batch.num_rows + 1)
                self._done += batch.num_rows
                yield Block(lines, names, columns)
        # A damaged page, or a text in it that is not UTF-8.
        except (self._damage, ValueError, OSError) as error:
            raise EOFError(str(error)) from error

    def _batches(self, names: list[str]) -> Iterator[Any]:
        if self._style == "parquet":
            yield from self._file.iter_batches(batch_size=_ROWS, columns=names)
            return
        file = self._file
        # A file of batches has an index, a stream of them does not.
        indexed = self._style == "arrow"
        for batch in map(file.get_batch, range(file.num_record_batches)) if indexed else file:
            for start in range(0, batch.num_rows, _ROWS):
                yield batch.slice(start, _ROWS)
