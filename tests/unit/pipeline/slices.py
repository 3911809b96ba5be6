"""Slices of records applied to a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from tests.unit.pipeline.logged import START_NS
from volsvc.config.settings import FeatureSettings
from volsvc.daemon.computed_metrics import ComputedMetrics
from volsvc.features import Applied, SymbolTable
from volsvc.features.kernels.points import GRID
from volsvc.pipeline.latest_store import LatestStore
from volsvc.pipeline.tick_applier import TickApplier, TickSlice
from volsvc.telemetry.health import Health
from volsvc.telemetry.metrics import Metrics
from volsvc.transport import Record

PUBLISHED_MS = START_NS // 1_000_000


class Applying:
    """An applier with an empty table, and all that it reports."""

    def __init__(self, **settings: Any) -> None:
        self.metrics = Metrics()
        self.table = SymbolTable(FeatureSettings(**settings))
        self.events: list[tuple[str, str, Any]] = []
        store = LatestStore(lambda kind, symbol, news: self.events.append((kind, symbol, news)))
        self.applier = TickApplier(self.table, store, self.metrics)
        self.metrics.registry.register(ComputedMetrics(self.table, store, Health()))

    def slices(self, batch: Sequence[Record]) -> list[TickSlice]:
        """Apply a batch."""
        return list(self.applier.slices(batch))

    def one(self, batch: Sequence[Record]) -> TickSlice:
        """Apply a batch that makes one slice."""
        (found,) = self.slices(batch)
        return found

    def symbols(self, tick_slice: TickSlice) -> list[str]:
        """Return the symbols of which a slice applied a tick, sorted."""
        return sorted(map(self.table.symbol, tick_slice.updated.tolist()))

    def states(self, batch: Sequence[Record]) -> list[bytes]:
        """Apply a batch, and return the states at its points of the publishing grid."""
        found = []
        for applied in points_of(self.applier.slices(batch)):
            for place in on_grid(applied):
                ticks, waiting = applied.copies[place : place + 1], applied.outside.get(place)
                row = int(applied.points["symbol"][place])
                found.append(self.table.stored_at(row, ticks, waiting))
        return found

    def metric(self, name: str, **labels: str) -> float | None:
        """Return the value of a series."""
        return self.metrics.registry.get_sample_value(f"volsvc_{name}", labels)


def points_of(slices: Iterable[TickSlice]) -> Iterator[Applied]:
    """Yield what slices applied, while it holds."""
    return (one.applied for one in slices if one.applied is not None)


def on_grid(applied: Applied) -> list[int]:
    """Return the places of the points on the publishing grid."""
    places: list[int] = np.flatnonzero(applied.points["kind"] == GRID).tolist()
    return places
