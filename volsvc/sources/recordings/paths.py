"""The files of a recording: one file, those of a folder, or those that a pattern names."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from pathlib import Path

from volsvc.domain import SourceError
from volsvc.sources.recordings.tables.formats import is_data
from volsvc.telemetry.logs import get_logger

log = get_logger(__name__)


def recordings_in(path: Path) -> list[Path]:
    """Return the files that a path names, by name: itself, those of a folder or of a pattern.

    In a folder hidden files and those that are no data, such as checksums, are left out. Raises
    SourceError if there is none.
    """
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
        data = [p for p in files if is_data(p)]
        if not data:
            raise SourceError(f"{path}: the folder holds no recording{_held(files)}")
        if len(data) < len(files):
            others = [p.name for p in files if not is_data(p)]
            log.warning("files_left_out", folder=str(path), count=len(others), first=others[0])
        return data
    if not path.exists() and glob.has_magic(str(path)):
        found = sorted(map(Path, glob.glob(str(path))))  # noqa: PTH207 - Path.glob takes no absolute one
        if not found:
            raise SourceError(f"{path}: no file has such a name")
        return files_of(found)
    return [path]


def files_of(paths: Iterable[Path]) -> list[Path]:
    """Return the files of all paths, each once."""
    return list(dict.fromkeys(file for path in paths for file in recordings_in(path)))


def _held(files: list[Path]) -> str:
    if files:
        return f" (it has {files[0].name}; name a file of another extension itself)"
    return "; of folders in it name one, or a pattern such as '*/*.parquet'"
