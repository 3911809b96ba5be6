"""Fixtures of the tests of the active model."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.serving.controlled import Controlled
from tests.unit.serving.test_model_loader import Files
from tests.unit.stepping import StillLoop


@pytest.fixture
def controlled() -> Iterator[Controlled]:
    """A controller that was not started yet."""
    with asyncio.Runner(loop_factory=StillLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, StillLoop)
        yield Controlled(loop)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A registry without versions."""
    (tmp_path / "registry").mkdir()
    return Files(tmp_path / "registry")
