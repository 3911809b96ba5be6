"""The summary of what a command has read, and `volsvc inspect`, which does nothing but read."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from rich.console import Console
from rich.table import Table as RichTable

from volsvc.commands.progress import progress_bar
from volsvc.config.settings import Settings
from volsvc.domain import Tick, format_time
from volsvc.domain.minute_bars import BarSeries
from volsvc.domain.tick_columns import TickColumns
from volsvc.features import PointGrid, SymbolTable, apply_recording
from volsvc.sources.factory import row_options
from volsvc.sources.recordings.bars import grouped, read_bars
from volsvc.sources.recordings.paths import files_of
from volsvc.sources.recordings.recording import Recording
from volsvc.sources.recordings.summary import (
    ReadCounts,
    summary_fields,
    summary_line,
    table_fields,
)
from volsvc.sources.recordings.tables.bar_columns import PRICES
from volsvc.sources.recordings.tables.table import Table

SummaryForm = Literal["text", "json"]
# Rows that are shown of each recording.
SHOWN_ROWS: Final = 5


def print_summary(tables: Sequence[Table], counts: ReadCounts, form: SummaryForm) -> None:
    """Print what was read: a line on standard error, or an object of JSON on standard output."""
    if form == "json":
        print(json.dumps(summary_fields(tables, counts), ensure_ascii=False))
    else:
        print(summary_line(counts), file=sys.stderr)


def inspect_files(settings: Settings, paths: Sequence[Path], form: SummaryForm) -> None:
    """Print how files are understood: format, columns, times, symbols, rows, and the first rows."""
    options = row_options(settings)
    bars, ticks = grouped(files_of(paths), options)
    counts = ReadCounts()
    tables: list[Table] = []
    rows: list[Mapping[str, Any]] = []
    for group in bars:
        for symbol, series in read_bars(group, options, counts, tables).items():
            rows += _first_bars(symbol, series)
    for group in ticks:
        rows += _inspected(Recording(group, options), settings, counts, tables)
    if form == "json":
        fields = {**summary_fields(tables, counts), "first_rows": rows}
        print(json.dumps(fields, ensure_ascii=False))
        return
    for table in tables:
        _print_table(table_fields(table))
    _print_facts(summary_fields(tables, counts))
    _print_rows(rows)
    print(summary_line(counts))


def _first_bars(symbol: str, series: BarSeries) -> Iterator[Mapping[str, Any]]:
    names = (*PRICES, "volume")
    for minute, values in zip(series.minutes[:SHOWN_ROWS], series.values[:SHOWN_ROWS], strict=True):
        time = format_time(int(minute) * 60 * 10**9)
        yield {"symbol": symbol, "time": time, **dict(zip(names, values.tolist(), strict=True))}


def _inspected(
    recording: Recording, settings: Settings, counts: ReadCounts, tables: list[Table]
) -> list[Mapping[str, Any]]:
    """Read a recording of ticks to its end, and return its first rows as they are understood."""
    recording.check()
    of_file, statuses, table = (
        ReadCounts(),
        Counter[str](),
        SymbolTable(settings.features, grid=PointGrid()),
    )
    first: list[Tick] = []

    def ticks() -> Iterator[TickColumns]:
        for rows in recording.rows():
            of_file.messages += rows.others
            for row in sorted(rows.faults):
                of_file.refuse(*rows.place(row), rows.fault(row))
            found = rows.ticks.take(rows.are_ticks) if rows.faults else rows.ticks
            of_file.valid(found)
            first.extend(found.take(slice(SHOWN_ROWS - len(first))).ticks())
            yield found

    title = f"inspecting {recording.label}"
    with progress_bar(title, lambda: recording.fraction) as advance:
        for applied in apply_recording(table, ticks(), statuses):
            advance(len(applied.results))
    of_file.classify(statuses)
    counts.add(of_file)
    tables.extend(recording.tables)
    return [_tick_fields(tick) for tick in first]


def _tick_fields(tick: Tick) -> Mapping[str, Any]:
    names = ("best_bid", "best_ask", "size", "side", "trade_id")
    known = {name: getattr(tick, name) for name in names}
    held = {name: value for name, value in known.items() if value is not None}
    return {
        "symbol": tick.symbol,
        "time": format_time(tick.time_ns),
        "price": tick.price,
        **held,
    }


def _print_table(fields: Mapping[str, Any]) -> None:
    separator = {"": "", "\t": ", separated by tabs"}.get(
        fields["separator"], f", separated by {fields['separator']!r}"
    )
    print(f"{fields['file']}: {fields['kind']} in {fields['format']}{separator}")
    columns = ", ".join(
        field if field == column else f"{field} from {column!r}"
        for field, column in fields["columns"].items()
    )
    time = f"; times are {fields['time']}" if fields["time"] else ""
    print(f"  columns: {columns or 'messages of a venue'}{time}")


def _print_facts(fields: Mapping[str, Any]) -> None:
    symbols = ", ".join(f"{symbol} ({rows:,})" for symbol, rows in fields["symbols"].items())
    print(f"symbols: {symbols}")
    print(f"span: {fields['start']} to {fields['end']}, {fields['gaps']:,} gaps")
    if fields["falling"]:
        print("order: falling, the newest row comes first")


def _print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = RichTable(*names, box=None)
    for row in rows:
        table.add_row(*(str(row.get(name, "")) for name in names))
    Console(markup=False, highlight=False).print(table)
