"""Writing tables of rows as CSV, NDJSON or Parquet."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from volsvc.config.settings import SettingsError
from volsvc.domain import SourceError
from volsvc.domain.extras import needs_extra
from volsvc.safe_io.disk import replacing
from volsvc.sources.recordings.tables.formats import file_format, open_raw, text_of

# Rows of one row group: bounds the memory, since rows come from an iterator of any length.
PARQUET_ROWS = 50_000


def check_output(out: Path, inputs: Iterable[Path]) -> None:
    """Raise SettingsError if the output would replace a file that is read."""
    if any(path.exists() and out.exists() and path.samefile(out) for path in inputs):
        raise SettingsError(f"--out: {out} is one of the files to read; name another one")


def write_rows(out: Path, columns: Sequence[str], rows: Iterator[Mapping[str, Any]]) -> None:
    """Write rows as CSV, NDJSON or Parquet, by the extension of `out`.

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


def _write_csv(out: Path, columns: Sequence[str], rows: Iterator[Mapping[str, Any]]) -> None:
    with text_of(open_raw(out, "w"), out, "w") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _write_json(out: Path, columns: Sequence[str], rows: Iterator[Mapping[str, Any]]) -> None:
    with text_of(open_raw(out, "w"), out, "w") as file:
        for row in rows:
            file.write(msgspec.json.encode({c: row[c] for c in columns}).decode() + "\n")


def _write_parquet(out: Path, columns: Sequence[str], rows: Iterator[Mapping[str, Any]]) -> None:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise SourceError(needs_extra("Parquet", "pyarrow")) from error
    writer = None
    try:
        while chunk := list(itertools.islice(rows, PARQUET_ROWS)):
            table = pa.Table.from_pylist([{c: row[c] for c in columns} for row in chunk])
            # The first chunk gives the schema; a column that is empty in a later one has another
            # type there, hence the cast.
            writer = writer or parquet.ParquetWriter(out, table.schema)
            writer.write_table(table.cast(writer.schema))
    finally:
        if writer is not None:
            writer.close()
