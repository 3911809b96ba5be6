"""Records of ticks in a file that both versions of volsvc read: in a line key, tab and value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from volsvc.transport import OutRecord


def write_records(path: Path, records: Iterable[OutRecord]) -> None:
    """Write records; neither a symbol nor the JSON of a tick has a tab or the end of a line."""
    with path.open("wb") as file:
        file.writelines(b"%b\t%b\n" % (record.key, record.value or b"") for record in records)


def read_records(path: Path) -> Iterator[OutRecord]:
    """Yield the records of a file one by one."""
    with path.open("rb") as file:
        for line in file:
            key, _, value = line.rstrip(b"\n").partition(b"\t")
            yield OutRecord(key, value)
