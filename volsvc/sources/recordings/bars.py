"""Recorded bars of a minute or less, by symbol: from any number of files, joined in time."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from volsvc.domain import NS, InvalidTickError, SourceError, format_time
from volsvc.domain.fields import MAX_PRICE
from volsvc.domain.minute_bars import BarSeries
from volsvc.sources.recordings.bad_bars import bad_prints
from volsvc.sources.recordings.file_names import name_without_digits, named_options, warn_of_name
from volsvc.sources.recordings.row_fields import symbols_of, times_of
from volsvc.sources.recordings.summary import ReadCounts
from volsvc.sources.recordings.symbols import Exchanges
from volsvc.sources.recordings.tables.bar_columns import PRICES, bar_columns_of
from volsvc.sources.recordings.tables.blocks import Block
from volsvc.sources.recordings.tables.columns import (
    Faults,
    Times,
    mapped_once,
    numbers,
    values_of,
)
from volsvc.sources.recordings.tables.json_lines import Records
from volsvc.sources.recordings.tables.options import RowOptions
from volsvc.sources.recordings.tables.table import Table
from volsvc.telemetry.logs import get_logger

log = get_logger(__name__)

MINUTE_NS: Final = 60 * NS
Values = NDArray[np.float64]
# A number of minutes, hours, days or weeks.
_INTERVAL: Final = re.compile(r"(\d{1,4})\s?((?:m(?!o)|h|d|w)[a-z]*)", re.ASCII)
# Texts that stand for nothing.
_NOTHING: Final = frozenset({"", "nan", "none", "null", "na", "n/a", "-"})


class _Rows(NamedTuple):
    """Valid rows of one symbol, as they came."""

    time_ns: Times
    values: Values


class Groups(NamedTuple):
    """Files by kind, those of one group to be read together."""

    bars: list[list[Path]]
    ticks: list[list[Path]]


def grouped(files: Iterable[Path], options: RowOptions) -> Groups:
    """Return files by kind and by what they may hold together, after a look at each.

    Bars may be of one symbol: files without a column of symbols are of that in their names. Ticks
    are parts of one recording if the names differ in numbers alone. Raises SourceError if a file
    cannot be read.
    """
    bars: dict[str, list[Path]] = defaultdict(list)
    ticks: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        table = _opened(file, options)
        if table.kind == "bars":
            fields = table.dialect.fields if table.dialect else {}
            named = "symbol" in fields or "base" in fields or "exchange" in fields
            bars["" if named else table.options.symbol or ""].append(file)
        else:
            ticks[f"{file.parent}/{name_without_digits(file)}"].append(file)
    return Groups(list(bars.values()), list(ticks.values()))


def _opened(path: Path, options: RowOptions) -> Table:
    """Return a table whose first rows have been read."""
    table = _table(path, options)
    blocks = table.blocks()
    # Closed at once, because a file that is open holds a descriptor.
    with closing(blocks):
        next((block for block in blocks if table.dialect is not None), None)
    return table


def _table(path: Path, options: RowOptions) -> Table:
    return Table(path, named_options(path, options))


def read_bars(
    files: Sequence[Path],
    options: RowOptions,
    counts: ReadCounts | None = None,
    tables: list[Table] | None = None,
) -> Mapping[str, BarSeries]:
    """Return the bars of files by symbol, without the rows that are not valid.

    Rows of one time are one bar, the first of them; bars of less than a minute are gathered into
    minutes. `counts` is told every row, `tables` every file. Raises SourceError if a file cannot be
    read or has no bar, or if the bars are longer than a minute.
    """
    counts = ReadCounts() if counts is None else counts
    exchanges = Exchanges()
    rows: dict[str, dict[str, list[_Rows]]] = defaultdict(lambda: defaultdict(list))
    for file in files:
        table = _table(file, options)
        if tables is not None:
            tables.append(table)
        for symbol, found in _read_file(table, exchanges, counts).items():
            rows[symbol][name_without_digits(file)].append(found)
    return {
        name: _series(name, parts, counts, options.bad_print_sigmas)
        for symbol, by_name in rows.items()
        for name, parts in _joined(symbol, by_name).items()
    }


def _read_file(table: Table, exchanges: Exchanges, counts: ReadCounts) -> Mapping[str, _Rows]:
    """Return the valid rows of a file by symbol; raises SourceError as `read_bars` does."""
    of_file = ReadCounts()
    parts: dict[str, list[_Rows]] = defaultdict(list)
    for symbol, found in _rows_of(table, exchanges, of_file):
        parts[symbol].append(found)
    counts.add(of_file)
    example = next(iter(of_file.examples.values()), f"{table.label}: holds no rows")
    if not parts:
        raise SourceError(f"{table.label}: holds no bar; {example}")
    if of_file.refused:
        log.warning("bars_refused", file=table.label, rows=of_file.refused, example=example)
    if table.options.is_named and table.options.symbol in parts:
        warn_of_name(table.path, table.options.symbol)
    whole = {
        symbol: _Rows(*(np.concatenate(columns) for columns in zip(*found, strict=True)))
        for symbol, found in parts.items()
    }
    for symbol, rows in whole.items():
        _check_step(f"{table.label}: {symbol}", rows.time_ns)
    return whole


def _joined(symbol: str, by_name: Mapping[str, list[_Rows]]) -> Mapping[str, list[_Rows]]:
    """Return the parts of each series of a symbol: of files whose times do not overlap.

    Files with names that differ in more than numbers and whose times overlap are of two venues,
    whose prices must not be one series: the file's name is a part of the symbol then.
    """
    spans = sorted(
        (min(int(p.time_ns.min()) for p in parts), max(int(p.time_ns.max()) for p in parts))
        for parts in by_name.values()
    )
    if all(end < start for (_, end), (start, _) in pairwise(spans)):
        return {symbol: [part for parts in by_name.values() for part in parts]}
    # Folders are named only where they tell files apart.
    short = {name: name.rpartition("/")[2] for name in by_name}
    names = short if len(set(short.values())) == len(short) else {name: name for name in short}
    return {f"{symbol} ({names[name]})": parts for name, parts in by_name.items()}


def _rows_of(table: Table, exchanges: Exchanges, counts: ReadCounts) -> Iterator[tuple[str, _Rows]]:
    for block in table.blocks():
        if block is None:
            continue
        as_columns = _block_of(block) if isinstance(block, Records) else block
        if table.dialect is not None and table.kind != "bars":
            raise SourceError(f"{table.label}: holds ticks beside files of bars; name them apart")
        yield from _valid_rows(table, as_columns, exchanges, counts)


def _block_of(records: Records) -> Block:
    """Return objects as the rows of a table; names are those of the first one."""
    objects = [record if isinstance(record, dict) else {} for record in records.found]
    names = tuple(next(filter(None, objects), {}))
    faults = {
        row: record
        for row, record in enumerate(records.found)
        if isinstance(record, InvalidTickError)
    }
    columns = {name: [record.get(name) for record in objects] for name in names}
    return Block(records.lines, names, columns, faults)


def _valid_rows(
    table: Table, block: Block, exchanges: Exchanges, counts: ReadCounts
) -> Iterator[tuple[str, _Rows]]:
    options, rows = table.options, len(block.lines)
    faults: Faults = dict(block.faults)
    column = {field: block.columns[name] for field, name in bar_columns_of(block.names).items()}
    time_ns = times_of(column, rows, options, faults)
    values = np.column_stack(
        [numbers(column.get(field), rows) for field in (*PRICES, "volume")]
    ).reshape(rows, 5)
    invalid = np.flatnonzero(~are_valid(values)).tolist()
    if invalid:
        nothing = [None] * rows
        written = {f: values_of(column.get(f, nothing)) for f in (*PRICES, "volume")}
        for row in invalid:
            cells = {field: listed[row] for field, listed in written.items()}
            faults.setdefault(row, _fault_of(values[row].tolist(), cells))
    if "interval" in column:
        mapped_once(column["interval"], _check_interval, faults, None)
    symbols = symbols_of(column, rows, options, exchanges, faults).by_row()
    for row, fault in sorted(faults.items()):
        counts.refuse(table.label, block.lines[row], fault)
    good = np.ones(rows, dtype=bool)
    good[list(faults)] = False
    different = dict.fromkeys(symbols)
    named = np.array(symbols) if len(different) > 1 else None
    for symbol in different:
        chosen = good if named is None else good & (named == symbol)
        if chosen.any():
            yield symbol, _Rows(time_ns[chosen], values[chosen])


def _check_interval(value: object) -> None:
    """Raise InvalidTickError if a bar is known to be longer than a minute."""
    text = str(value or "").strip().lower()
    longer = _INTERVAL.fullmatch(text)
    if longer and (int(longer[1]) > 1 or longer[2][0] != "m"):
        raise InvalidTickError("interval", f"{text!r} is longer than a minute", "interval")


def are_valid(values: Values) -> NDArray[np.bool_]:
    """Return a mask of the bars whose prices are possible and inside their range."""
    prices, volume = values[:, :4], values[:, 4]
    start, high, low, end = prices.T
    inside = (start <= high) & (start >= low) & (end <= high) & (end >= low)
    possible = (prices >= 1 / MAX_PRICE) & (prices <= MAX_PRICE)
    # NaN compares as False.
    valid: NDArray[np.bool_] = inside & possible.all(axis=1) & (volume >= 0)
    return valid


def _fault_of(values: Sequence[float], cells: Mapping[str, Any]) -> InvalidTickError:
    """Return what is wrong with a bar; `cells` are its values as they were written."""
    known = dict(zip((*PRICES, "volume"), values, strict=True))
    if all(str(cells[field]).lower() in _NOTHING for field in PRICES):
        return InvalidTickError("close", "is missing, as all of the bar", "empty")
    for field in PRICES:
        if not 1 / MAX_PRICE <= known[field] <= MAX_PRICE:
            return InvalidTickError(field, f"{cells[field]!r} is not a price above 0", "price")
    if known["high"] < known["low"]:
        detail = f"{cells['high']!r} is below the low, {cells['low']!r}"
        return InvalidTickError("high", detail, "high_below_low")
    for field in ("open", "close"):
        if not known["low"] <= known[field] <= known["high"]:
            detail = f"{cells[field]!r} is outside {cells['low']!r} to {cells['high']!r}"
            return InvalidTickError(field, detail, "outside_range")
    return InvalidTickError("volume", f"{cells['volume']!r} is not 0 or more", "volume")


def _series(
    symbol: str, parts: Sequence[_Rows], counts: ReadCounts, bad_print_sigmas: float
) -> BarSeries:
    time_ns = np.concatenate([part.time_ns for part in parts])
    values = np.concatenate([part.values for part in parts])
    counts.falls += int(np.count_nonzero(np.diff(time_ns) < 0))
    # The first of equal times is kept.
    known_ns, first = np.unique(time_ns, return_index=True)
    counts.duplicates += len(time_ns) - len(first)
    counts.taken += len(first)
    counts.by_symbol[symbol] += len(first)
    counts.cover(int(known_ns[0]), int(known_ns[-1]))
    minutes, values = of_whole_minutes(known_ns, values[first])
    bad = bad_prints(minutes, values, bad_print_sigmas)
    if len(bad):
        counts.refuse_prints(symbol, format_time(int(minutes[bad[0]]) * MINUTE_NS), len(bad))
        minutes, values = np.delete(minutes, bad), np.delete(values, bad, axis=0)
    counts.gaps += int(np.count_nonzero(np.diff(minutes) > 1))
    return BarSeries(minutes, values)


def _check_step(what: str, time_ns: Times) -> None:
    """Raise SourceError if the bars of a file are longer than a minute."""
    steps = np.diff(np.sort(time_ns // MINUTE_NS))
    steps = steps[steps > 0]
    if not len(steps):
        return
    # Some minutes may be missing, which makes steps of several lengths.
    known, counts = np.unique(steps, return_counts=True)
    step = int(known[counts.argmax()])
    if step > 1 and (counts.max() > len(steps) / 2 or np.gcd.reduce(known) > 1):
        raise SourceError(
            f"{what} has a bar every {step} minutes; the engine needs one for every minute, "
            "because its features are made of minutes"
        )


def of_whole_minutes(time_ns: Times, values: Values) -> BarSeries:
    """Return the bars of whole minutes, of bars of less; those of one minute are in order."""
    minutes = time_ns // MINUTE_NS
    order = np.argsort(minutes, kind="stable")
    minutes, values = minutes[order], values[order]
    known, starts = np.unique(minutes, return_index=True)
    if len(known) == len(minutes):
        return BarSeries(minutes, values)
    ends = np.append(starts[1:], len(minutes)) - 1
    columns = [
        values[starts, 0],
        np.maximum.reduceat(values[:, 1], starts),
        np.minimum.reduceat(values[:, 2], starts),
        values[ends, 3],
        np.add.reduceat(values[:, 4], starts),
    ]
    return BarSeries(known, np.column_stack(columns))
