"""Records of JSON: one object a line, or the elements of an array."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from volsvc.domain import InvalidTickError
from volsvc.sources.recordings.tables.lines import BLOCK, MAX_LINE

_decode = msgspec.json.Decoder().decode
_scan = json.JSONDecoder().raw_decode
_BLANK = " \t\r\n"


class Records(NamedTuple):
    """Objects, arrays or faults, with the number of the line or of the element of each."""

    lines: Sequence[int]
    found: Sequence[dict[str, Any] | list[Any] | InvalidTickError]


def records_of_lines(blocks: Iterable[bytes]) -> Iterator[Records]:
    """Yield the objects of lines; empty ones for a step that has come to none."""
    number = 0
    for block in blocks:
        lines: list[int] = []
        found: list[dict[str, Any] | list[Any] | InvalidTickError] = []
        for line in block.splitlines():
            number += 1
            if line and not line.isspace():
                lines.append(number)
                found.append(_record_of(line))
        yield Records(lines, found)


def _record_of(line: bytes) -> dict[str, Any] | InvalidTickError:
    if len(line) > MAX_LINE:
        return InvalidTickError("line", f"is longer than {MAX_LINE:,} bytes", "row")
    # A bad byte spoils its row, not the file.
    text = line.decode("utf-8", "replace")
    try:
        record = _decoded(text)
    # A deeply nested line exhausts the stack.
    except (ValueError, RecursionError):
        return InvalidTickError("line", "is not JSON", "json")
    if not isinstance(record, dict):
        return InvalidTickError("line", "is not a JSON object", "json")
    return record


def _decoded(text: str) -> Any:
    try:
        return _decode(text)
    except msgspec.DecodeError:
        # Programs write NaN for nothing, and integers of any size.
        return json.loads(text)


def records_of_array(chunks: Iterable[bytes]) -> Iterator[Records]:
    """Yield the elements of one array, which may be larger than memory.

    Raises EOFError where the array is damaged or ends too early.
    """
    text, number, opened = "", 0, False
    # A character may begin in one chunk and end in the next.
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    for chunk in chunks:
        text += decode(chunk)
        # The array's own bracket.
        if not opened and (text := text.lstrip(_BLANK)):
            text, opened = text[1:], True
        lines: list[int] = []
        found: list[dict[str, Any] | list[Any] | InvalidTickError] = []
        at = 0
        while (element := _element(text, at)) is not None:
            value, at = element
            number += 1
            lines.append(number)
            found.append(
                value
                if isinstance(value, dict | list)
                else InvalidTickError("element", "is neither an object nor an array", "json")
            )
        text = text[at:].lstrip(_BLANK + ",")
        yield Records(lines, found)
        if text.startswith("]"):
            return
        if len(text) > MAX_LINE + BLOCK:
            raise EOFError(
                f"element {number + 1} is not JSON, or is longer than {MAX_LINE:,} bytes"
            )
    raise EOFError(f"the array is not closed, or element {number + 1} is not JSON")


def _element(text: str, at: int) -> tuple[Any, int] | None:
    """Return the next element and where it ends; None if the text does not hold all of it."""
    while at < len(text) and text[at] in _BLANK + ",":
        at += 1
    # A number could go on in the next chunk; no element of ours is one.
    if at >= len(text) or text[at] not in "{[":
        return None
    try:
        return _scan(text, at)
    except (ValueError, RecursionError):
        return None
