"""The daemon fixture of the client tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.daemon import RunningDaemon, eventually, running


@pytest.fixture
async def daemon(minutes: Path, tmp_path: Path) -> AsyncIterator[RunningDaemon]:
    """Run a daemon in a process of its own that has replayed a recording."""
    rows = len(minutes.read_text().splitlines())
    async with running("--path", str(minutes), "--speed", "max", cwd=tmp_path) as started:

        async def replayed() -> bool:
            return await started.metric("volsvc_ticks_total") == rows

        await eventually(replayed, 30, "the recording is replayed")
        yield started
