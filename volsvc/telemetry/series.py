"""Series of counters that exist before the first event."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Counter


def start_at_zero(family: Counter, values: Iterable[str]) -> None:
    """Create the series of a counter for these values of its one label.

    Without it `rate` would miss the first event, which creates the series at 1.
    """
    for value in values:
        family.labels(value)
