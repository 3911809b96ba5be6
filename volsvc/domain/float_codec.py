"""Lossless text encoding of float arrays, NaN included, at half the size of JSON numbers."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def pack(values: Sequence[float] | NDArray[np.float64]) -> str:
    """Return the values as Base64 of little-endian doubles."""
    return base64.b64encode(np.asarray(values, dtype="<f8").tobytes()).decode()


def unpack(text: str) -> NDArray[np.float64]:
    """Return the array that `pack` encoded, of shape (n,).

    Raises ValueError if the text is not valid.
    """
    return np.frombuffer(base64.b64decode(text, validate=True), dtype="<f8").astype(np.float64)
