"""A table with one symbol."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tests.applied import AppliedTick, apply_all, apply_one
from tests.unit.features.ticks import START_NS
from volsvc.config.settings import FeatureSettings
from volsvc.domain import FeatureRow, Quality, Tick
from volsvc.features import SymbolState, SymbolTable
from volsvc.features.kernels.points import GRID

SYMBOL = "BTC-USD"


class OneSymbol:
    """The state of one symbol in a table of its own."""

    def __init__(self, stored: bytes | None = None, **settings: Any) -> None:
        """Start without ticks, or with a stored state."""
        self._settings = settings
        self.table = SymbolTable(FeatureSettings(**settings))
        if stored is None:
            self.table.row_for(SYMBOL, START_NS)
        else:
            self.table.restore(SYMBOL, stored, START_NS)

    def restored(self, **settings: Any) -> OneSymbol:
        """Return a copy that was stored and restored, perhaps under other settings."""
        return OneSymbol(self.stored(), **{**self._settings, **settings})

    def apply(self, tick: Tick, published_ns: int = 0) -> str:
        """Apply a tick and those that waited for it, and return its status."""
        return self.apply_one(tick, published_ns).status

    def apply_one(self, tick: Tick, published_ns: int = 0) -> AppliedTick:
        """Apply a tick and those that waited for it."""
        return apply_one(self.table, tick, published_ns)

    def apply_all(self, ticks: Iterable[Tick], published_ns: int = 0) -> list[str]:
        """Apply ticks in one batch, and return their statuses."""
        return apply_all(self.table, ticks, published_ns)

    def rows_after(self, tick: Tick) -> list[FeatureRow]:
        """Apply a tick, and return the row after each tick that was applied with it."""
        return self.apply_one(tick).rows

    def stored(self) -> bytes:
        """Return the state as it is published."""
        row = self.table.row(SYMBOL)
        return self.table.stored(row)

    @property
    def state(self) -> SymbolState:
        """The state of the symbol."""
        return self.table.get(SYMBOL)

    @property
    def ticks(self) -> Any:
        """The part of the state that ticks change (TICKS)."""
        return self.state.record.ticks

    @property
    def check(self) -> Any:
        """The counts and the memory of the validation (TICK_CHECK)."""
        return self.ticks.check

    @property
    def row(self) -> FeatureRow | None:
        """The features after the newest tick."""
        return self.state.row

    @property
    def quality(self) -> Quality:
        """The counts of the feed."""
        return self.state.quality()

    @property
    def scales(self) -> bytes:
        """The features at the newest tick, those of several time scales included, as bytes."""
        (point,) = self.table.newest(self.table.rows)
        return bytes(point.features.tobytes())


def features(one: OneSymbol) -> str:
    """Return all of a state that forecasts depend on, and the newest row.

    That is all but the memory of ticks and what waits.
    """
    kept = np.array([one.ticks])
    for name in ("partition", "offset", "outside", "check", "next", "prints"):
        kept[name] = np.zeros(1, kept.dtype[name])
    # A restored ring is another one with the same prices.
    kept["window"]["at"] = kept["window"]["history"] = 0
    return f"{kept.tobytes()!r} {one.row} {one.scales!r}"


def due(applied: AppliedTick) -> list[int]:
    """Return the times of the points of the publishing grid."""
    return [int(point.at_ns) for point in applied.points if point.kind == GRID]
