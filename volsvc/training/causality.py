"""The causality check: recompute rows on truncated data and compare.

A row that depends on later data changes once the data after its time is cut off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from volsvc.domain import VolsvcError
from volsvc.training.dataset import Array


class CausalityError(VolsvcError):
    """A row that changed when the data after it was cut off."""


# A function from bars (BAR) to the rows of their minutes, of shape (minutes, columns).
Rows = Callable[[Any], Array]


def check_causality(rows: Rows, bars: Any, cuts: Sequence[int]) -> None:
    """Compare the row at each cut, a number of bars, on all the data and on the data up to it.

    Raises CausalityError, which names the cut and the first column that differs.
    """
    whole = rows(bars)
    first = bars[0].minute
    for cut in cuts:
        truncated = rows(bars[:cut])[-1]
        # Minutes without trades have a row but no bar, so rows are found by minute.
        full = whole[bars[cut - 1].minute - first]
        differs = np.flatnonzero(~((truncated == full) | (np.isnan(truncated) & np.isnan(full))))
        if len(differs):
            column = int(differs[0])
            raise CausalityError(
                f"after {cut} minutes, column {column} is {full[column]!r} on all the data "
                f"and {truncated[column]!r} on the data until then: it depends on later data"
            )
