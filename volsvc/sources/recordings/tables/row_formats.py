"""Tables of columns, or of rows, as the text of CSV or NDJSON or as Parquet."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, TextIO

import msgspec
import numpy as np

from volsvc.domain import SourceError
from volsvc.domain.extras import needs_extra
from volsvc.sources.recordings.tables.columns import Coded
from volsvc.sources.recordings.tables.csv_text import TextColumn, Times, csv_text

# A value for each column.
Row = Sequence[Any]
# In columns that are made of rows any values.
Column = TextColumn | list[Any]
# A column for each name, of some rows.
Parts = Iterator[Sequence[Column]]

# Rows of one row group, and of what is written at once: bounds the memory, since rows come from an
# iterator of any length.
PARQUET_ROWS: Final = 50_000


def columns_of_rows(rows: Iterator[Row]) -> Parts:
    """Yield rows as columns."""
    while chunk := list(itertools.islice(rows, PARQUET_ROWS)):
        yield list(map(list, zip(*chunk, strict=True)))


def write_csv(file: TextIO, names: Sequence[str], parts: Parts) -> None:
    """Write a line of names and a line for each row."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(names)
    for columns in parts:
        texts = [column for column in columns if not isinstance(column, list)]
        if len(texts) == len(columns):
            file.write(csv_text(texts))
        else:
            writer.writerows(zip(*map(_values_of, columns), strict=True))


def write_ndjson(file: TextIO, names: Sequence[str], parts: Parts) -> None:
    """Write a JSON object for each row."""
    for columns in parts:
        for row in zip(*map(_values_of, columns), strict=True):
            fields = dict(zip(names, row, strict=True))
            file.write(msgspec.json.encode(fields).decode() + "\n")


def write_parquet(sink: Path | BinaryIO, names: Sequence[str], parts: Parts) -> None:
    """Write a Parquet file; raises SourceError without the extra `parquet`."""
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
            writer = writer or parquet.ParquetWriter(sink, table.schema)
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
    if writer is None:
        # Columns of no type: there is nothing to tell it from.
        parquet.write_table(pa.table({name: [] for name in names}), sink)


def _array_of(column: Column) -> Any:
    return column if isinstance(column, np.ndarray) else _values_of(column)


def _values_of(column: Column) -> Sequence[Any]:
    """Return the values of a column as texts and numbers."""
    if isinstance(column, Coded):
        return column.by_row()
    if isinstance(column, Times):
        return csv_text([column]).splitlines()
    return column if isinstance(column, list) else column.tolist()
