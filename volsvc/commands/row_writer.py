"""Writing tables of rows as CSV, NDJSON or Parquet."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from volsvc.config.settings import SettingsError
from volsvc.domain import SourceError
from volsvc.domain.extras import needs_extra
from volsvc.safe_io.disk import replacing
from volsvc.sources.recordings.tables.formats import file_format, open_raw, text_of

Row = Sequence[Any]

# Rows of one row group: bounds the memory, since rows come from an iterator of any length.
PARQUET_ROWS = 50_000


def check_output(out: Path, inputs: Iterable[Path]) -> None:
    """Raise SettingsError if the output would replace a file that is read."""
    if any(path.exists() and out.exists() and path.samefile(out) for path in inputs):
        raise SettingsError(f"--out: {out} is one of the files to read; name another one")


def write_rows(out: Path, columns: Sequence[str], rows: Iterator[Row]) -> None:
    """Write rows as CSV, NDJSON or Parquet, by the extension of `out`.

    A row has a value for each of `columns`.

    The file appears when it is complete. Raises SourceError if it cannot be written, or if there
    are no rows for it.
    """
    style = file_format(out)
    if not out.parent.is_dir():
        raise SourceError(f"{out}: there is no folder {out.parent}")
    first = next(rows, None)
    # A table without rows would be taken for the result of an input that was understood.
    if first is None:
        raise SourceError(f"{out}: is not written, because the input gives no row for it")
    rows = itertools.chain((first,), rows)
    write = {"csv": _write_csv, "ndjson": _write_json, "parquet": _write_parquet}[style]
    try:
        with replacing(out) as part:
            write(part, columns, rows)
    except OSError as error:
        raise SourceError(f"{out}: cannot be written: {error.strerror or error}") from error


def _write_csv(out: Path, columns: Sequence[str], rows: Iterator[Row]) -> None:
    with text_of(open_raw(out, "w"), out, "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def _write_json(out: Path, columns: Sequence[str], rows: Iterator[Row]) -> None:
    with text_of(open_raw(out, "w"), out, "w") as file:
        for row in rows:
            fields = dict(zip(columns, row, strict=True))
            file.write(msgspec.json.encode(fields).decode() + "\n")


def _write_parquet(out: Path, columns: Sequence[str], rows: Iterator[Row]) -> None:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise SourceError(needs_extra("Parquet", "pyarrow")) from error
    writer = None
    try:
        while chunk := list(itertools.islice(rows, PARQUET_ROWS)):
            table = pa.table(dict(zip(columns, map(list, zip(*chunk, strict=True)), strict=True)))
            # The first chunk gives the schema; a column that is empty in a later one has another
            # type there, hence the cast.
            writer = writer or parquet.ParquetWriter(out, table.schema)
            writer.write_table(table.cast(writer.schema))
    finally:
        if writer is not None:
            writer.close()
