"""A short form of `make fuzz`."""

import pytest

from tests.fuzz.__main__ import fuzz
from tests.fuzz.targets import TARGETS

pytestmark = pytest.mark.long


@pytest.mark.parametrize("name", TARGETS)
def test_near_valid_inputs_are_read_or_refused(name: str) -> None:
    """Each of ten thousand inputs close to valid ones is read, or refused with a known reason."""
    assert fuzz(name, 10_000, 60, seed=1) >= 10_000
