"""Formats of recordings: told by their content where they are read, by the name where written."""

from __future__ import annotations

import codecs
import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, NamedTuple, TextIO, cast

from volsvc.domain import SourceError
from volsvc.sources.recordings.tables.lines import COMPRESSIONS, MAX_LINE, as_utf8, inflated, zstd

Mode = Literal["r", "w"]
Style = Literal["csv", "ndjson", "array", "parquet", "arrow", "arrow stream", "zip"]

FORMATS: Final = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson", ".parquet": "parquet"}
# Extensions of the files in a folder that are data; a checksum or a README is none.
DATA_EXTENSIONS: Final = frozenset(
    {
        *(*FORMATS, ".tsv", ".txt", ".json", ".pq", ".feather", ".arrow", ".ipc", ".zip"),
        *COMPRESSIONS,
    }
)
# First bytes that tell a format or a compression.
_TABLES: Final = {
    b"PAR1": "parquet",
    b"ARROW1": "arrow",
    b"\xff\xff\xff\xff": "arrow stream",
    b"PK\x03\x04": "zip",
}
_LONGEST: Final = 6


class Format(NamedTuple):
    """The format of a recording, and the compression around it (empty for none)."""

    style: Style
    compression: str = ""

    @property
    def is_text(self) -> bool:
        """True for what is read from its start to its end."""
        return self.style in ("csv", "ndjson", "array")

    def __str__(self) -> str:
        return f"{self.style}, {self.compression}" if self.compression else self.style


def sniffed(head: bytes, *, whole: bool = False) -> Format | None:
    """Return the format of what has these first bytes.

    None if they do not suffice, unless they are the whole. Raises one of `lines.DAMAGE`.
    """
    if len(head) < _LONGEST and not whole:
        return None
    if table := _table_style(head):
        return Format(table)
    compression = next((name for name, magic in COMPRESSIONS.items() if head.startswith(magic)), "")
    text = _first_text(head, compression)
    if not text and not whole and len(head) < MAX_LINE:
        return None
    if compression and _table_style(text):
        raise SourceError(f"is a table inside {compression}: decompress it first")
    if b"\0" in text[:_LONGEST] or (not compression and _is_binary(head)):
        raise SourceError("is no text and of no known format; export it as CSV, or as Parquet")
    styles: dict[bytes, Style] = {b"{": "ndjson", b"[": "array"}
    return Format(styles.get(text[:1], "csv"), compression)


def _is_binary(head: bytes) -> bool:
    marks = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    # Formats begin with zeros; one further on may be damage, which costs its row.
    return b"\0" in head[:16] and not head.startswith(marks)


def _table_style(head: bytes) -> Style | None:
    found = next((style for magic, style in _TABLES.items() if head.startswith(magic)), None)
    return cast("Style | None", found)


def _first_text(head: bytes, compression: str) -> bytes:
    """Return some of the text in the head, without the blanks before it."""
    text = b""
    # The head ends where it happens to end.
    with suppress(EOFError):
        for piece in as_utf8(inflated([head], compression)):
            text = (text + piece).lstrip()
            if len(text) > _LONGEST:
                break
    return text


def is_data(path: Path) -> bool:
    """Return whether a file in a folder or an archive has the name of a recording."""
    return path.suffix.lower() in DATA_EXTENSIONS


def file_format(path: Path) -> str:
    """Return `csv`, `ndjson` or `parquet`, as the extension of a file to be written says.

    Raises SourceError for another extension.
    """
    suffixes = [s.lower() for s in path.suffixes]
    compression = suffixes.pop() if suffixes and suffixes[-1] in (".gz", ".zst") else ""
    if not suffixes or suffixes[-1] not in FORMATS:
        known = ", ".join(FORMATS)
        raise SourceError(
            f"{path}: the extension must be one of {known}, with or without .gz or .zst"
        )
    style = FORMATS[suffixes[-1]]
    if style == "parquet" and compression:
        raise SourceError(
            f"{path}: Parquet is compressed inside; take a name without {compression}"
        )
    return style


def open_raw(path: Path, mode: Mode) -> BinaryIO:
    """Open a file for its bytes as they are stored; raises SourceError if it cannot be opened."""
    try:
        return cast("BinaryIO", path.open(mode + "b"))
    except OSError as error:
        raise SourceError(f"{path}: cannot be opened: {error.strerror or error}") from error


@contextmanager
def text_of(raw: BinaryIO, path: Path, mode: Mode) -> Iterator[TextIO]:
    """Open the text inside a plain, gzip or zstd file, by its extension; closes `raw` at exit."""
    stream: Any = raw
    if path.suffix == ".gz":
        # No name and time in the header, so that the same rows give the same bytes.
        stream = gzip.GzipFile("", mode + "b", fileobj=raw, mtime=0)
    elif path.suffix == ".zst":
        stream = zstd.ZstdFile(raw, mode)
    # A bad byte spoils its row, not the file. The csv module needs line ends untranslated.
    with raw, io.TextIOWrapper(stream, "utf-8", errors="replace", newline="") as text:
        yield text
