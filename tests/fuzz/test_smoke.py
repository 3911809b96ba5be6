"""A short turn of what `make fuzz` does for minutes."""

import pytest

from tests.fuzz.__main__ import fuzz
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_near_valid_inputs_are_read_or_refused(name: str) -> None:
    """Ten thousand inputs near to valid ones: each is read, or refused with a known reason."""
    assert fuzz(name, 10_000, 60, seed=1) >= 10_000
