"""Does any forecast know the future? Recompute on data that ends there, and compare.

A feature that peeks gives other numbers once what it peeked at is cut away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from volsvc.domain import VolsvcError
from volsvc.features import MinuteBar
from volsvc.training.dataset import Array


class CausalityError(VolsvcError):
    """A row changed when the data after it was taken away."""


# From bars to what is known at the end of each minute: arrays of one shape.
Rows = Callable[[Iterator[MinuteBar]], Sequence[Array]]


def check_causality(rows: Rows, bars: Sequence[MinuteBar], cuts: Sequence[int]) -> None:
    """Compare the row at each cut (a number of bars) on all the data and on the data up to it.

    Raises CausalityError, which names the cut and the first column that differs.
    """
    whole = rows(iter(bars))
    first = bars[0].minute
    for cut in cuts:
        truncated = rows(iter(bars[:cut]))[-1]
        full = whole[bars[cut - 1].minute - first]
        differs = np.flatnonzero(~((truncated == full) | (np.isnan(truncated) & np.isnan(full))))
        if len(differs):
            column = int(differs[0])
            raise CausalityError(
                f"after {cut} minutes, column {column} is {full[column]!r} on all the data "
                f"and {truncated[column]!r} on the data until then: it knows the future"
            )
