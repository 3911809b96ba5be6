"""Options of reading tables."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final

from volsvc.domain import NS

# Clocks may be ahead, and zones may be confused; a later time is in a wrong unit.
_AHEAD_NS: Final = 86_400 * NS


def _tomorrow() -> int:
    return time.time_ns() + _AHEAD_NS


@dataclass(frozen=True, slots=True)
class RowOptions:
    """Options of reading the rows of a table.

    `symbol` is that of rows without one; if it is that of the file's name (`is_named`), of rows
    without a column for it. `columns` are the names of the columns of a file that has
    none, `time_format` the form of its times for `strptime`. A time from `latest_ns` on is invalid.
    """

    symbol: str | None = None
    columns: tuple[str, ...] = ()
    time_format: str = ""
    is_named: bool = False
    # The file's name has a pair of assets.
    is_of_pair: bool = False
    bad_print_sigmas: float = 15.0
    latest_ns: int = field(default_factory=_tomorrow)
