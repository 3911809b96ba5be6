"""Constants of the exponentially weighted averages behind the multi-scale features.

The averages of a symbol are vectors with one element for each of ALL_KERNELS.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from volsvc.domain.feature_names import ALL_KERNELS, KERNELS, Kernel
from volsvc.features.minutes import FLOOR_PER_MINUTE

Vector = NDArray[np.float64]

# Least argument of a logarithm and least denominator, far below the floor of a minute.
TINY = FLOOR_PER_MINUTE * 1e-2

# 1/minutes.
INVERSE_HALF_LIVES: Vector = np.array([1 / half for _, half in ALL_KERNELS])
ONE_MINUTE_DECAY: Vector = np.exp2(-INVERSE_HALF_LIVES)
GAIN: Vector = 1 - np.exp2(-INVERSE_HALF_LIVES)
# Index in KERNELS of the quantity that each element averages.
QUANTITY = np.repeat(np.arange(len(KERNELS)), [len(halves) for halves in KERNELS.values()])
INDEX = {kernel: index for index, kernel in enumerate(ALL_KERNELS)}


def indices(kernels: Iterable[Kernel]) -> NDArray[np.intp]:
    """Return the indices of averages."""
    return np.array([INDEX[kernel] for kernel in kernels], dtype=np.intp)
