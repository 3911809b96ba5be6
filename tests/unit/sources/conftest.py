"""Recordings for the tests of sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.sources.replays import SYMBOLS
from volsvc.commands.files import generate_file


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same ticks in every format."""
    folder = tmp_path_factory.mktemp("formats")
    for name in ("t.csv", "t.ndjson", "t.csv.gz", "t.ndjson.zst", "t.parquet"):
        start = "2026-01-05T00:00:00Z"
        generate_file(folder / name, minutes=4, seed=5, symbols=SYMBOLS, start=start)
    return folder
