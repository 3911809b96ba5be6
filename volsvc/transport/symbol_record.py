"""Records whose key is the symbol that their value names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import msgspec

from volsvc.domain import InvalidTickError, is_symbol
from volsvc.transport.bus import Record


class OfSymbol(Protocol):
    """A value that names its symbol."""

    @property
    def symbol(self) -> str:
        """The symbol's name."""
        ...


Value = TypeVar("Value", bound=OfSymbol)


def decode_of_symbol(record: Record, decode: Callable[[bytes], Value], what: str) -> Value:
    """Return the value of a record; `what` names its contents in an error.

    Raises InvalidTickError if it cannot be decoded, or is not of the symbol that is its key.
    """
    try:
        found = decode(record.value or b"")
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidTickError(what, f"are not valid: {error}", what) from error
    if not is_symbol(found.symbol) or record.key != found.symbol.encode():
        raise InvalidTickError("key", f"{record.key!r} is not {found.symbol!r}"[:120], "key")
    return found
