"""Exceptions of the service, all derived from VolsvcError."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice

# At most this many known names are compared with an unknown one; each comparison is slow, and
# requests for unknown symbols must not delay other requests.
MAX_COMPARED = 500


class VolsvcError(Exception):
    """Base class of the errors that volsvc raises on purpose; the text can be shown to a user."""


class InvalidTickError(VolsvcError):
    """A record that should be a tick but is not valid.

    `field` is the name of the invalid field; `reason` is a label for metrics, one of a few values.
    """

    def __init__(self, field: str, detail: str, reason: str = "invalid") -> None:
        super().__init__(f"field {field!r}: {detail}")
        self.field = field
        self.detail = detail
        self.reason = reason


class NotATickError(VolsvcError):
    """A valid message of a feed that carries no tick, such as a subscription receipt."""


class SourceError(VolsvcError):
    """A source that cannot be read: missing, empty, or without a required column."""


class FeedError(VolsvcError):
    """A live feed broke or was refused; connecting may be retried.

    `reason` is a label for metrics, one of a few values.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class StartupError(VolsvcError):
    """The daemon cannot start, for example because a port is in use."""


class BusError(VolsvcError):
    """The bus refuses permanently: wrong credentials, or a topic that may not be created."""


class BusUnavailableError(BusError):
    """The bus does not answer at present; the operation may be retried."""


class UnknownSymbolError(VolsvcError):
    """No tick of the symbol has been received; `nearest` are the most similar known names."""

    def __init__(self, symbol: str, known: Iterable[str]) -> None:
        wanted = symbol.upper()
        names = list(islice(known, MAX_COMPARED))
        # Venues spell one pair as BTC-USD, BTC/USD, BTCUSD and XBTUSD.
        same = [name for name in names if _letters(name) == _letters(symbol)]
        alike = [name for name in names if name[:1] == wanted[:1]]
        nearest = same[:3] or difflib.get_close_matches(wanted, alike, n=3)
        hint = f"; did you mean {', '.join(nearest)}?" if nearest else ""
        super().__init__(f"no tick of symbol {symbol!r} has been seen{hint}")
        self.symbol = symbol
        self.nearest = tuple(nearest)


def _letters(symbol: str) -> str:
    """Return the assets of a pair without the marks between them, in one spelling."""
    return "".join(filter(str.isalnum, symbol.upper())).replace("XBT", "BTC")
