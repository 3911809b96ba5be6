"""Writing tables to files, from rows or from columns."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from volsvc.config.settings import SettingsError
from volsvc.domain import SourceError
from volsvc.safe_io.disk import replacing
from volsvc.sources.recordings.tables.formats import file_format, open_raw, text_of
from volsvc.sources.recordings.tables.row_formats import (
    Parts,
    Row,
    columns_of_rows,
    write_csv,
    write_ndjson,
    write_parquet,
)


def check_output(out: Path, inputs: Iterable[Path]) -> None:
    """Raise SettingsError if the output would replace a file that is read."""
    if any(path.exists() and out.exists() and path.samefile(out) for path in inputs):
        raise SettingsError(f"--out: {out} is one of the files to read; name another one")


def write_rows(out: Path, columns: Sequence[str], rows: Iterator[Row]) -> None:
    """Write rows, which have a value for each of `columns`; otherwise as `write_columns`."""
    write_columns(out, columns, columns_of_rows(rows))


def write_columns(out: Path, names: Sequence[str], parts: Parts) -> None:
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
    try:
        with replacing(out) as part:
            if style == "parquet":
                write_parquet(part, names, parts)
            else:
                write = write_csv if style == "csv" else write_ndjson
                with text_of(open_raw(part, "w"), part, "w") as file:
                    write(file, names, parts)
    except OSError as error:
        raise SourceError(f"{out}: cannot be written: {error.strerror or error}") from error
