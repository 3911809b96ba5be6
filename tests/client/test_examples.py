"""The examples of docs/client.md, beside a real service."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest

from tests.daemon import RunningDaemon

PAGE = Path(__file__).parents[2] / "docs" / "client.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_there_are_examples() -> None:
    """The page has a program for each thing that it describes."""
    assert len(EXAMPLES) >= 6


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
async def test_an_example_runs(number: int, daemon: RunningDaemon, tmp_path: Path) -> None:
    """Each program ends well, and says something."""
    program = EXAMPLES[number].replace("http://127.0.0.1:8000", daemon.url)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-c", program),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    assert (process.returncode, err.decode()) == (0, "")
    assert out
