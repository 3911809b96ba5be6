"""Many ticks as columns, without an object for each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from volsvc.domain.tick import Tick

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

# Stands for a trade id or a sequence that is not known.
NO_NUMBER: Final = -1
# Sides by their number.
SIDES: Final = (None, "buy", "sell")


class Names:
    """Names and their numbers, which count from 0 in the order in which the names come."""

    def __init__(self) -> None:
        self.listed: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, name: str) -> int:
        """Return the number of a name, a new one if the name is new."""
        number = self._numbers.setdefault(name, len(self.listed))
        if number == len(self.listed):
            self.listed.append(name)
        return number

    def numbers(self, names: Iterable[str]) -> Integers:
        """Return the number of each name."""
        return np.array([self.number(name) for name in names], np.int64)


@dataclass(frozen=True, slots=True)
class TickColumns:
    """Ticks as arrays of shape (ticks,), each with the values of a field of `Tick`.

    `symbol` and `source` are indices of `symbols` and `sources`, which may have more names than
    these ticks, and `side` is one of SIDES. Quotes and sizes that are not known are NaN, trade ids
    and sequences NO_NUMBER.
    """

    symbols: Sequence[str]
    sources: Sequence[str]
    symbol: Integers
    time_ns: Integers
    price: Floats
    best_bid: Floats
    best_ask: Floats
    size: Floats
    side: Integers
    trade_id: Integers
    sequence: Integers
    source: Integers

    def __len__(self) -> int:
        return len(self.time_ns)

    @property
    def feature_price(self) -> Floats:
        """Prices used by the features: the mid where both quotes are known, else the last price."""
        mid = (self.best_bid + self.best_ask) / 2
        return np.where(np.isnan(mid), self.price, mid)

    def take(self, rows: slice | NDArray[Any]) -> TickColumns:
        """Return some of the ticks: a part, those of a mask, or those at indices."""
        columns = (getattr(self, name)[rows] for name in _COLUMNS)
        return TickColumns(self.symbols, self.sources, *columns)

    def ticks(self) -> Iterator[Tick]:
        """Yield each as a Tick."""
        quotes_and_size = (self.best_bid, self.best_ask, self.size)
        return map(
            Tick,
            [self.symbols[number] for number in self.symbol.tolist()],
            self.time_ns.tolist(),
            self.price.tolist(),
            *map(_with_nones, quotes_and_size, map(np.isnan, quotes_and_size)),
            [SIDES[number] for number in self.side.tolist()],
            _with_nones(self.trade_id, self.trade_id == NO_NUMBER),
            _with_nones(self.sequence, self.sequence == NO_NUMBER),
            [self.sources[number] for number in self.source.tolist()],
        )


_COLUMNS: Final = tuple(
    name for name in TickColumns.__slots__ if name not in ("symbols", "sources")
)


def _with_nones(column: NDArray[Any], are_unknown: NDArray[np.bool_]) -> list[Any]:
    values: list[Any] = column.tolist()
    for row in np.flatnonzero(are_unknown).tolist():
        values[row] = None
    return values


def one_after_another(parts: Sequence[TickColumns]) -> TickColumns:
    """Return the ticks of parts that have the same lists of names."""
    first = parts[0]
    return TickColumns(
        first.symbols,
        first.sources,
        *(np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS),
    )


def columns_of_ticks(
    ticks: Sequence[Tick], symbols: Names | None = None, sources: Names | None = None
) -> TickColumns:
    """Return ticks as columns; their names are added to `symbols` and `sources`, if given."""
    symbols = Names() if symbols is None else symbols
    sources = Names() if sources is None else sources

    def floats(name: str) -> Floats:
        # Numpy makes NaN of None.
        return np.array([getattr(tick, name) for tick in ticks], np.float64)

    def numbers(name: str) -> Integers:
        found = [getattr(tick, name) for tick in ticks]
        return np.array([NO_NUMBER if value is None else value for value in found], np.int64)

    return TickColumns(
        symbols=symbols.listed,
        sources=sources.listed,
        symbol=symbols.numbers(tick.symbol for tick in ticks),
        time_ns=numbers("time_ns"),
        price=floats("price"),
        best_bid=floats("best_bid"),
        best_ask=floats("best_ask"),
        size=floats("size"),
        side=np.array([side_number(tick.side) for tick in ticks], np.int64),
        trade_id=numbers("trade_id"),
        sequence=numbers("sequence"),
        source=sources.numbers(tick.source for tick in ticks),
    )


def side_number(side: str | None) -> int:
    """Return the number of a side; any text that is none counts as not known."""
    return SIDES.index(side) if side in SIDES else 0
