"""Writing tables as CSV, NDJSON or Parquet, from rows or from columns."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from volsvc.config.settings import SettingsError
from volsvc.domain import SourceError
from volsvc.domain.extras import needs_extra
from volsvc.safe_io.disk import replacing
from volsvc.sources.recordings.tables.columns import Coded
from volsvc.sources.recordings.tables.csv_text import TextColumn, Times, csv_text
from volsvc.sources.recordings.tables.formats import file_format, open_raw, text_of

Row = Sequence[Any]
# In columns that are made of rows any values.
Column = TextColumn | list[Any]

# Rows of one row group, and of what is written at once: bounds the memory, since rows come from an
# iterator of any length.
PARQUET_ROWS = 50_000


def check_output(out: Path, inputs: Iterable[Path]) -> None:
    """Raise SettingsError if the output would replace a file that is read."""
    if any(path.exists() and out.exists() and path.samefile(out) for path in inputs):
        raise SettingsError(f"--out: {out} is one of the files to read; name another one")


def write_rows(out: Path, columns: Sequence[str], rows: Iterator[Row]) -> None:
    """Write rows, which have a value for each of `columns`; otherwise as `write_columns`."""
    write_columns(out, columns, _columns_of_rows(rows))


def _columns_of_rows(rows: Iterator[Row]) -> Iterator[Sequence[Column]]:
    while chunk := list(itertools.islice(rows, PARQUET_ROWS)):
        yield list(map(list, zip(*chunk, strict=True)))


def write_columns(out: Path, names: Sequence[str], parts: Iterator[Sequence[Column]]) -> None:
    """Write the parts of a table as CSV, NDJSON or Parquet, by the extension of `out`.

    A part has a column for each of `names`, and some rows. The file appears when it is complete.
    Raises SourceError if it cannot be written, or if there are no parts for it.
    """
    style = file_format(out)
    if not out.parent.is_dir():
        raise SourceError(f"{out}: there is no folder {out.parent}")
    first = next(parts, None)
    # A table without rows would be taken for the result of an input that was understood.
    if first is None:
        raise SourceError(f"{out}: is not written, because the input gives no row for it")
    parts = itertools.chain((first,), parts)
    write = {"csv": _write_csv, "ndjson": _write_json, "parquet": _write_parquet}[style]
    try:
        with replacing(out) as part:
            write(part, names, parts)
    except OSError as error:
        raise SourceError(f"{out}: cannot be written: {error.strerror or error}") from error


def _write_csv(out: Path, names: Sequence[str], parts: Iterator[Sequence[Column]]) -> None:
    with text_of(open_raw(out, "w"), out, "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        for columns in parts:
            texts = [column for column in columns if not isinstance(column, list)]
            if len(texts) == len(columns):
                file.write(csv_text(texts))
            else:
                writer.writerows(zip(*map(_values_of, columns), strict=True))


def _write_json(out: Path, names: Sequence[str], parts: Iterator[Sequence[Column]]) -> None:
    with text_of(open_raw(out, "w"), out, "w") as file:
        for columns in parts:
            for row in zip(*map(_values_of, columns), strict=True):
                fields = dict(zip(names, row, strict=True))
                file.write(msgspec.json.encode(fields).decode() + "\n")


def _write_parquet(out: Path, names: Sequence[str], parts: Iterator[Sequence[Column]]) -> None:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise SourceError(needs_extra("Parquet", "pyarrow")) from error
    writer = held = None
    try:
        for columns in parts:
            table = pa.table(dict(zip(names, map(_array_of, columns), strict=True)))
            # The first part gives the schema; a column that is empty in a later one has another
            # type there, hence the cast.
            writer = writer or parquet.ParquetWriter(out, table.schema)
            table = table.cast(writer.schema)
            held = table if held is None else pa.concat_tables([held, table])
            while len(held) >= PARQUET_ROWS:
                writer.write_table(held[:PARQUET_ROWS].combine_chunks())
                held = held[PARQUET_ROWS:]
        if writer is not None and held:
            writer.write_table(held.combine_chunks())
    finally:
        if writer is not None:
            writer.close()


def _array_of(column: Column) -> Any:
    return column if isinstance(column, np.ndarray) else _values_of(column)


def _values_of(column: Column) -> Sequence[Any]:
    """Return the values of a column as texts and numbers."""
    if isinstance(column, Coded):
        return column.by_row()
    if isinstance(column, Times):
        return csv_text([column]).splitlines()
    return column if isinstance(column, list) else column.tolist()
