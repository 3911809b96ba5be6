"""Arrays of floats as text, without loss and at half the size of JSON numbers; NaN included."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def pack(values: Sequence[float] | NDArray[np.float64]) -> str:
    """Base64 of the little-endian doubles."""
    return base64.b64encode(np.asarray(values, dtype="<f8").tobytes()).decode()


def unpack(text: str) -> NDArray[np.float64]:
    """What `pack` was given, of shape (n,); raises ValueError when it is none of it."""
    return np.frombuffer(base64.b64decode(text, validate=True), dtype="<f8").astype(np.float64)
