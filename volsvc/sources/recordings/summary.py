"""The summary of what was read, in numbers and in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from volsvc.domain import InvalidTickError, format_time
from volsvc.domain.tick_columns import TickColumns
from volsvc.sources.recordings.tables.table import Table

_OF_ENGINE: Final = {
    "bad_print": "prices far from those before and after them; see features.bad_print_sigmas",
    "max_symbols": "more symbols than features.max_symbols",
    "unknown_symbol": "symbols that are not in features.symbols",
}


# Rows for which the late ones behind them are counted.
MOST_BEHIND: Final = 1_000


@dataclass
class ReadCounts:
    """Rows of recordings: those that were taken, and the others by reason.

    Rows read are `taken` + `late` + `duplicates` + `left_out` + `refused`: `late` and `duplicates`
    are valid rows that change no feature, `left_out` those of symbols that were not asked for.
    """

    taken: int = 0
    late: int = 0
    duplicates: int = 0
    left_out: int = 0
    # Messages of venues without ticks, such as heartbeats, which are no rows.
    messages: int = 0
    by_reason: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    by_symbol: Counter[str] = field(default_factory=Counter)
    gaps: int = 0
    first_ns: int | None = None
    last_ns: int = 0
    # Late rows by the row that they are behind, of the first of these.
    late_behind: Counter[str] = field(default_factory=Counter)
    # Rows whose time is before that of the row above.
    falls: int = 0
    _above_ns: int = 0

    def valid(self, ticks: TickColumns) -> None:
        """Note the symbols and the times of valid rows."""
        if not len(ticks):
            return
        rows = np.bincount(ticks.symbol)
        for number in np.flatnonzero(rows).tolist():
            self.by_symbol[ticks.symbols[number]] += int(rows[number])
        times = ticks.time_ns
        self.falls += int(np.count_nonzero(np.diff(times, prepend=self._above_ns) < 0))
        self._above_ns = int(times[-1])
        self.cover(int(times.min()), int(times.max()))

    def cover(self, first_ns: int, last_ns: int) -> None:
        """Widen the span to some times."""
        self.first_ns = first_ns if self.first_ns is None else min(self.first_ns, first_ns)
        self.last_ns = max(self.last_ns, last_ns)

    def behind(self, file: str, line: int) -> None:
        """Note a row that is behind that of a file and line."""
        row = f"{file}, line {line}"
        if row in self.late_behind or len(self.late_behind) < MOST_BEHIND:
            self.late_behind[row] += 1

    def refuse(self, file: str, line: int, error: InvalidTickError) -> None:
        """Count a row that is not valid, and keep the first of each reason."""
        self.by_reason[error.reason] += 1
        self.examples.setdefault(error.reason, f"{file}, line {line}: {error}")

    def classify(self, statuses: Mapping[str, int]) -> None:
        """Count valid rows by what became of them: new, late, duplicate, or a reason; and gaps."""
        # Bad prints were new before they were left out.
        self.taken = statuses.get("new", 0) - statuses.get("bad_print", 0)
        self.late = statuses.get("late", 0)
        self.duplicates = statuses.get("duplicate", 0)
        self.gaps = statuses.get("gap", 0)
        for status, count in statuses.items():
            if count and status not in ("new", "late", "duplicate", "gap"):
                self.by_reason[status] += count
                self.examples.setdefault(status, _OF_ENGINE.get(status, "see docs/topics.md"))

    def add(self, other: ReadCounts) -> None:
        """Add the rows of another recording."""
        self.taken += other.taken
        self.late += other.late
        self.duplicates += other.duplicates
        self.left_out += other.left_out
        self.messages += other.messages
        self.by_reason += other.by_reason
        self.examples = {**other.examples, **self.examples}
        self.by_symbol += other.by_symbol
        self.late_behind += other.late_behind
        self.gaps += other.gaps
        self.falls += other.falls
        if other.first_ns is not None:
            self.cover(other.first_ns, other.last_ns)

    def refuse_prints(self, symbol: str, time: str, rows: int) -> None:
        """Count taken bars that are left out for their price; `time` is that of the first."""
        self.taken -= rows
        self.by_symbol[symbol] -= rows
        self.by_reason["bad_print"] += rows
        example = f"{symbol} at {time}: {_OF_ENGINE['bad_print']}"
        self.examples.setdefault("bad_print", example)

    @property
    def refused(self) -> int:
        """Number of rows that are not valid."""
        return self.by_reason.total()

    @property
    def read(self) -> int:
        """Number of rows."""
        return self.taken + self.late + self.duplicates + self.left_out + self.refused

    @property
    def are_falling(self) -> bool:
        """True if nearly every row is older than the one above: the newest comes first."""
        valid = self.by_symbol.total()
        return valid > 1 and self.falls > 0.9 * (valid - 1)


def summary_fields(tables: Sequence[Table], counts: ReadCounts) -> Mapping[str, Any]:
    """Return what was read as an object of JSON."""
    return {
        "files": [table_fields(table) for table in tables],
        "rows": {
            "read": counts.read,
            "taken": counts.taken,
            "late": counts.late,
            "duplicate": counts.duplicates,
            "left_out": counts.left_out,
            "refused": counts.refused,
        },
        "refused": dict(counts.by_reason),
        "other_messages": counts.messages,
        "examples": counts.examples,
        "symbols": dict(sorted(counts.by_symbol.items())),
        "start": None if counts.first_ns is None else format_time(counts.first_ns),
        "end": None if counts.first_ns is None else format_time(counts.last_ns),
        "gaps": counts.gaps,
        "falling": counts.are_falling,
    }


def table_fields(table: Table) -> Mapping[str, Any]:
    """Return how a file was understood."""
    dialect = table.dialect
    return {
        "file": table.label,
        "format": str(table.format or ""),
        "kind": table.kind,
        "separator": dialect.separator if dialect else "",
        "columns": dict(dialect.fields) if dialect else {},
        "time": table.time_form,
    }


def summary_line(counts: ReadCounts) -> str:
    """Return what was read in one line, with the commonest fault and what can be done."""
    parts = [
        f"{counts.read:,} rows read: {counts.taken:,} taken",
        f"{counts.late:,} late",
        f"{counts.duplicates:,} duplicate",
        f"{counts.refused:,} refused",
    ]
    if counts.left_out:
        parts.insert(3, f"{counts.left_out:,} of other symbols")
    text = ", ".join(parts)
    if counts.messages:
        text += f"; {counts.messages:,} messages without ticks"
    if counts.are_falling and counts.late:
        text += "; the newest row comes first, so that the others are late: sort the file by time"
    elif counts.late * 2 > counts.taken and counts.late_behind:
        behind, rows = counts.late_behind.most_common(1)[0]
        if rows * 2 > counts.late:
            text += f"; {rows:,} of the late ones are behind {behind}: is its time wrong?"
    if counts.by_reason:
        reason, _ = counts.by_reason.most_common(1)[0]
        reasons = ", ".join(f"{name} {n:,}" for name, n in counts.by_reason.most_common())
        text += f"; refused by reason: {reasons}; first: {counts.examples[reason]}"
    return text
