"""Arrays of floats as text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volsvc.domain.float_codec import pack, unpack


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=20))
def test_round_trip(values: list[float]) -> None:
    """Packing and unpacking preserves every bit of any double."""
    assert unpack(pack(values)).tobytes() == np.array(values, dtype=np.float64).tobytes()


def test_invalid_text_is_refused() -> None:
    """Text that is not Base64, or not of whole doubles, raises ValueError."""
    for text in ("?", "AAAA"):
        with pytest.raises(ValueError, match=r"base64|buffer size"):
            unpack(text)
