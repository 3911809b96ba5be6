"""The multi-scale state of a symbol for tests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tests.unit.features.records import copied, started
from volsvc.features import SCALE_NAMES
from volsvc.features.kernels import multiscale, multiscale_row
from volsvc.features.kernels.multiscale import MULTISCALE


class Scales:
    """A record of MULTISCALE, and the rows that are read from it."""

    def __init__(self, bars: Iterable[Any] = ()) -> None:
        """Start with whole minutes (BAR)."""
        self.record = started(MULTISCALE, multiscale.start)
        for bar in bars:
            self.push(bar)

    def restored(self) -> Scales:
        """Return another state with the same record."""
        other = Scales()
        other.record = copied(self.record)
        return other

    def push(self, bar: Any, fraction: float = 1.0) -> None:
        """Add a completed minute of which a fraction was observed."""
        multiscale.push(self.record, bar, fraction)

    def row(self, minute: int) -> Any:
        """Return the features at the end of a minute."""
        row = np.zeros(len(SCALE_NAMES))
        multiscale_row.row_after(self.record, minute, row)
        return row

    def within(self, bar: Any, fraction: float) -> Any:
        """Return the features when a fraction of the minute of a bar has passed."""
        row = np.zeros(len(SCALE_NAMES))
        multiscale_row.row_within(self.record, bar, fraction, row)
        return row

    def is_gap(self, minute: int) -> bool:
        """Return True if the silence before a minute is a gap of the feed."""
        return bool(multiscale.is_gap(self.record, minute))

    @property
    def elapsed(self) -> float:
        """The minutes observed so far."""
        return float(self.record.elapsed)
