"""Ticks whose times go back."""

from __future__ import annotations

from typing import Any

from volsvc.compiled import kernel


@kernel
def find_late(
    symbols: Any,
    times: Any,
    lines: Any,
    newest_ns: Any,
    newest_line: Any,
    indices: Any,
    behind_ns: Any,
    behind_lines: Any,
) -> int:
    """Write the late ticks to the last three arrays, and return their number."""
    count = 0
    for at in range(len(symbols)):
        symbol = symbols[at]
        if times[at] < newest_ns[symbol]:
            indices[count] = at
            behind_ns[count] = newest_ns[symbol] - times[at]
            behind_lines[count] = newest_line[symbol]
            count += 1
        else:
            newest_ns[symbol] = times[at]
            newest_line[symbol] = lines[at]
    return count
