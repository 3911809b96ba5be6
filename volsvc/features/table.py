"""The table of all symbols' states: one array of records, and the rings beside it."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from volsvc.config.settings import FeatureSettings
from volsvc.domain import NS, InvalidTickError, UnknownSymbolError
from volsvc.features.applied import SLICE_TICKS, Applied, Buffers, TableArrays
from volsvc.features.digest_chain import DigestChain
from volsvc.features.forecast_history import ForecastHistory
from volsvc.features.kernels import apply, points, price_window, record
from volsvc.features.kernels.minutes import MINUTE_NS
from volsvc.features.ordered_ticks import OrderedTicks
from volsvc.features.state import SymbolState
from volsvc.features.stored_state import StoredState, pack, unpack
from volsvc.features.version_3 import migrate
from volsvc.scoring.scores import DAILY_WIDTH, WINDOW_DAYS, SymbolScores

# Fields of the price window, as whole numbers in the bytes of a TICKS.
_WHOLE: Final = struct.Struct("=q")
_AT, _COUNT, _HISTORY = (
    record.place_of(record.TICKS, "window") + record.place_of(price_window.WINDOW, name)
    for name in ("at", "count", "history")
)
# Rows of a new table; it doubles as symbols come.
_FIRST_ROWS: Final = 16
# No tolerance is longer than this, some 146 years.
_NEVER_NS: Final = 2**62


class PointGrid(NamedTuple):
    """Times in ns at which points are asked for.

    `step_ns` is the step of the publishing grid, 0 for none. Recordings are forecast every
    `every_ns` while the newest tick is not older than `fresh_ns`.
    """

    step_ns: int = 0
    every_ns: int = 0
    fresh_ns: int = 0


class SymbolTable:
    """States by symbol, limited in number; symbols without recent ticks make room for new ones."""

    def __init__(
        self,
        settings: FeatureSettings,
        evicted: Callable[[str], None] = lambda symbol: None,
        window_days: int = WINDOW_DAYS,
        grid: PointGrid | None = None,
    ) -> None:
        """Start empty; `evicted` is called with each removed symbol, scores cover `window_days`.

        The grid is that of `publish_every_s` unless another one is given.
        """
        self._settings = settings
        self._evicted = evicted
        self._ttl_ns = round(settings.symbol_ttl_s * NS)
        late_ns = round(settings.late_tolerance_s * NS)
        options = np.zeros(1, apply.OPTIONS)
        options["window_size"] = settings.window_size
        options["late_ns"] = late_ns
        options["future_ns"] = round(min(settings.future_tolerance_s * NS, _NEVER_NS))
        options["bad_print_sigmas"] = settings.bad_print_sigmas
        grid = grid or PointGrid(round(settings.publish_every_s * NS))
        options["step_ns"], options["every_ns"], options["fresh_ns"] = grid
        options["most_points"] = apply.most_points(grid.every_ns, grid.fresh_ns)
        self._options = options
        self._rows: dict[str, int] = {}
        # Rows that have been given up so far.
        self.removals = 0
        self._symbols: list[str] = []
        self._free: list[int] = []
        self._ordered = OrderedTicks(late_ns)
        self._histories: list[ForecastHistory] = []
        self.records: Any = np.zeros(0, record.STATE)
        ring = settings.window_size + max(settings.history, SLICE_TICKS)
        self._prices = np.zeros((0, ring))
        self._times = np.zeros((0, ring), np.int64)
        self.daily = np.zeros((0, window_days, DAILY_WIDTH))

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[SymbolState]:
        return iter([self.state(row) for row in self._rows.values()])

    def __contains__(self, symbol: str) -> bool:
        return symbol in self._rows

    @property
    def full(self) -> bool:
        """True if a new symbol needs the room of another one."""
        return len(self._rows) >= self._settings.max_symbols

    @property
    def rows(self) -> NDArray[np.int64]:
        """The rows of all symbols in `records` and `daily`."""
        return np.fromiter(self._rows.values(), np.int64, len(self._rows))

    @property
    def rows_with_ticks(self) -> NDArray[np.int64]:
        """The rows of the symbols of which a tick was applied."""
        rows = self.rows
        with_ticks: NDArray[np.int64] = rows[self.records["ticks"]["window"]["at"][rows] >= 0]
        return with_ticks

    def symbol(self, row: int) -> str:
        """Return the symbol in a row."""
        return self._symbols[row]

    def state(self, row: int) -> SymbolState:
        """Return the state in a row."""
        symbol = self._symbols[row]
        state = self.records[row]
        return SymbolState(
            symbol,
            state,
            (self._prices[row], self._times[row]),
            self._settings.window_size,
            SymbolScores(symbol, state.learnt.scores, self.daily[row]),
            self._histories[row],
            self._ordered.order(row),
        )

    def known_row(self, symbol: str) -> int | None:
        """Return the row of a symbol; None if it is not known."""
        return self._rows.get(symbol)

    def get(self, symbol: str) -> SymbolState:
        """Return the state of a known symbol. Raises UnknownSymbolError with similar names."""
        return self.state(self.row(symbol))

    def row(self, symbol: str) -> int:
        """Return the row of a known symbol. Raises UnknownSymbolError with similar names."""
        row = self._rows.get(symbol)
        if row is None:
            raise UnknownSymbolError(symbol, self._rows)
        return row

    def digest(self, row: int) -> DigestChain:
        """Return the chain of the published forecasts and minutes of the symbol in a row."""
        return DigestChain(self.records["learnt"]["digest"], row)

    def place(self, row: int) -> tuple[int, int]:
        """Return partition and offset of the newest tick in the state of a row."""
        partitions, offsets = self.places(np.array([row]))
        return int(partitions[0]), int(offsets[0])

    def forecast_history(self, row: int) -> ForecastHistory:
        """Return the recent forecasts of the symbol in a row."""
        return self._histories[row]

    def places(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return partitions and offsets of the newest ticks in the states of rows."""
        ticks = self.records["ticks"]
        return ticks["partition"][rows], ticks["offset"][rows]

    def newest_ns(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the times of the newest ticks that were applied, of symbols that have one."""
        times: NDArray[np.int64] = self._times[rows, self.records["ticks"]["window"]["at"][rows]]
        return times

    def take_early(self) -> list[tuple[int, int]]:
        """Return rows and numbers of ticks that did not wait their time since the last call."""
        return self._ordered.take_early()

    # --- rows -----------------------------------------------------------------------------

    def row_for(self, symbol: str, time_ns: int) -> int:
        """Return the row of a symbol, a new one if the symbol is new.

        A new symbol may take the row of another one, so where the table is `full` earlier ticks
        have to be applied first. Raises InvalidTickError if the symbol is not configured, or if the
        table is full of symbols that had a tick within `symbol_ttl_s` before `time_ns` (event
        time).
        """
        row = self._rows.get(symbol)
        if row is None:
            if self._settings.symbols and symbol not in self._settings.symbols:
                raise InvalidTickError("symbol", "is not in features.symbols", "unknown_symbol")
            self._make_room(time_ns)
            row = self._new_row(symbol)
        return row

    def _new_row(self, symbol: str) -> int:
        if not self._free:
            self._grow()
        row = self._free.pop()
        self._rows[symbol] = row
        self._symbols[row] = symbol
        self._histories[row] = ForecastHistory(self._settings.history)
        self.records[row] = np.zeros((), record.STATE)
        record.start(self.records[row])
        self.daily[row] = 0.0
        return row

    def _grow(self) -> None:
        old, new = len(self.records), max(2 * len(self.records), _FIRST_ROWS)
        # Memory of zeros is taken when it is written to, so rows without a symbol take none.
        self.records = _grown(self.records, new)
        self._prices, self._times = _grown(self._prices, new), _grown(self._times, new)
        self.daily = _grown(self.daily, new)
        self._free += reversed(range(old, new))
        self._symbols += [""] * (new - old)
        self._histories += [ForecastHistory(0)] * (new - old)

    def _make_room(self, time_ns: int) -> None:
        if not self.full:
            return
        expired = self.expired(time_ns)
        for row in expired.tolist():
            symbol = self._symbols[row]
            self.drop(symbol)
            self._evicted(symbol)
        if not len(expired):
            detail = f"the table already holds max_symbols = {self._settings.max_symbols}"
            raise InvalidTickError("symbol", detail, "max_symbols")

    def expired(self, time_ns: int) -> NDArray[np.int64]:
        """Return the rows of symbols without a tick within `symbol_ttl_s` before a time."""
        rows = self.rows
        ticks = self.records["ticks"]
        # Of the newest tick that came: it may still wait, and have given no row. Or of a bar.
        bars_end = (ticks["multiscale"]["minute"][rows] + 1) * MINUTE_NS - 1
        newest = np.maximum(ticks["check"]["last_ns"][rows], bars_end)
        expired: NDArray[np.int64] = rows[(newest < 0) | (time_ns - newest > self._ttl_ns)]
        return expired

    def drop(self, symbol: str) -> None:
        """Remove a symbol, if it is known."""
        row = self._rows.pop(symbol, None)
        if row is not None:
            self.removals += 1
            self._free.append(row)
            self._ordered.drop(row)

    # --- ticks ----------------------------------------------------------------------------

    def finish(self, buffers: Buffers) -> Iterator[Applied]:
        """Apply the ticks that still wait for older ones, at the end of a recording."""
        return self._ordered.finish(self.arrays, buffers)

    @property
    def most_points(self) -> int:
        """The number of points that one tick may give."""
        return int(self._options["most_points"][0])

    @property
    def unfinished(self) -> bool:
        """True if restored states have ticks to apply."""
        return self._ordered.unfinished

    @property
    def arrays(self) -> TableArrays:
        """The arrays that ticks change."""
        return TableArrays(self.records, self._prices, self._times, self._options)

    def apply(self, batch: Any, first: int, buffers: Buffers) -> Applied:
        """Apply the ticks (TICK) of a batch from `first` on while there is room for their points.

        Before them come those that restored states have yet to apply (`unfinished`). At most
        SLICE_TICKS are applied before the states at their points are published.
        """
        if self._ordered.unfinished:
            return self._ordered.apply_unfinished(self.arrays, first, buffers)
        if self._ordered:
            return self._ordered.apply(self.arrays, batch, first, buffers)
        results, rows = buffers.results(len(batch))
        done, count = apply.apply_ticks(
            *self.arrays, batch, first, False, results, buffers.points, buffers.copies, rows
        )
        points, copies = buffers.points[:count], buffers.copies[:count]
        return Applied(done, points, results[first:done], rows[first:done], copies, {})

    def newest(self, rows: NDArray[np.int64]) -> Any:
        """Return the points (POINT) at the newest ticks of the symbols in rows.

        With a tolerance a symbol may have ticks of which all still wait. Its features are then
        those after the one that will be the first, without returns. Without any tick its price
        is 0.
        """
        found = np.zeros(len(rows), points.POINT)
        apply.newest_points(*self.arrays, rows, found)
        if not self._ordered:
            return found
        for index in np.flatnonzero(found["row"]["price"] == 0.0).tolist():
            point = found[index]
            order = self._ordered.order(int(point.symbol))
            if order is not None and len(order):
                first = order.waiting()[0]
                point.row.time_ns, point.row.price = first["time_ns"], first["price"]
        return found

    def qualities(self) -> list[dict[str, Any]]:
        """Return the counts of each symbol's feed as table rows, sorted by symbol."""
        rows = []
        for state in sorted(self, key=lambda state: state.symbol):
            quality = state.quality()
            row = {"symbol": state.symbol, "gaps": quality.gaps, "duplicates": quality.duplicates}
            rows.append({**row, "late": quality.late, "verdict": quality.verdict})
        return rows

    # --- stored states --------------------------------------------------------------------

    def stored(self, row: int) -> bytes:
        """Return the state of the symbol in a row as bytes."""
        order = self._ordered.order(row)
        outside = None if order is None else order.waiting()
        return self.stored_at(row, self.records["ticks"][row : row + 1], outside)

    def is_at(self, row: int, ticks: NDArray[Any]) -> bool:
        """Return True if no tick has come to the symbol in a row since a copy of its TICKS."""
        now: bytes = self.records["ticks"][row : row + 1].tobytes()
        return now == ticks.tobytes()

    def stored_at(self, row: int, ticks: NDArray[Any], outside: NDArray[Any] | None) -> bytes:
        """Return the state of the symbol in a row at an earlier point.

        `ticks` is the copy of one TICKS there, and `outside` the ticks that waited. What was
        learnt is that of now, so no later point may have been settled.
        """
        # As bytes: numpy reads and copies the fields of a single record slowly.
        copied, size = bytearray(ticks.tobytes()), self._settings.window_size
        at, count = (_WHOLE.unpack_from(copied, place)[0] for place in (_AT, _COUNT))
        end = at + 1
        start = end - min(count, size)
        # As after a restart: equal states have equal bytes, wherever the ring begins.
        _WHOLE.pack_into(copied, _AT, end - start - 1)
        _WHOLE.pack_into(copied, _HISTORY, 0)
        content = StoredState(
            schema=record.SCHEMA_ID,
            window_size=size,
            ticks=bytes(copied),
            learnt=self.records["learnt"][row : row + 1].tobytes(),
            prices=_part_of_ring(self._prices[row], start, end),
            times=_part_of_ring(self._times[row], start, end),
            daily=self.daily[row].tobytes(),
            outside=b"" if outside is None else outside.tobytes(),
        )
        return pack(content)

    def restore(self, symbol: str, content: bytes | Mapping[str, Any], time_ns: int) -> SymbolState:
        """Restore a stored state, unless the table has a newer one, and return that of the table.

        A mapping is a state of version 3. Its histories start empty, since no features depend on
        them. Raises StateError if it is not valid, and InvalidTickError as `row_for` does.
        """
        size = self._settings.window_size
        if isinstance(content, bytes):
            stored = unpack(content, size)
        else:
            stored = migrate(symbol, content, size)
        # Newer means a higher offset: a late writer may leave an old state as the last record.
        if symbol in self and self.get(symbol).offset >= stored.state.ticks.offset:
            return self.get(symbol)
        self.drop(symbol)
        row = self.row_for(symbol, time_ns)
        self.records[row] = stored.state
        window = self.records[row].ticks.window
        start_over = np.zeros(1, price_window.WINDOW)[0]
        ring = self._prices[row], self._times[row]
        price_window.restore(window, *ring, size, stored.prices, stored.times, start_over)
        for day in stored.daily:
            kept = self.daily[row, int(day[0] - 1) % self.daily.shape[1]]
            # Written under another number of days: of two in one place the newer one counts.
            if day[0] > kept[0]:
                kept[:] = day
        self._ordered.restore(self.records[row].ticks, row, stored.outside)
        return self.state(row)


def _part_of_ring(ring: NDArray[Any], start: int, end: int) -> bytes:
    """Return the elements from `start` to `end` as bytes; a negative start counts from the end."""
    if start >= 0:
        return ring[start:end].tobytes()
    return ring[start:].tobytes() + ring[:end].tobytes()


def _grown(array: NDArray[Any], rows: int) -> NDArray[Any]:
    grown = np.zeros((rows, *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown
