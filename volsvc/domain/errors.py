"""The errors of the service: one base, so that one edge can translate them all."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice

# Names that an unknown one is compared with.
MAX_COMPARED = 500


class VolsvcError(Exception):
    """Base of every error that volsvc raises on purpose; its text is fit for a user."""


class InvalidTickError(VolsvcError):
    """A record that claims to be a tick but is not a valid one.

    `field` names the offending field and `reason` is a short, bounded label for metrics.
    """

    def __init__(self, field: str, detail: str, reason: str = "invalid") -> None:
        super().__init__(f"field {field!r}: {detail}")
        self.field = field
        self.detail = detail
        self.reason = reason


class NotATickError(VolsvcError):
    """A well-formed message of a feed that carries no tick, such as a subscription receipt."""


class SourceError(VolsvcError):
    """A source that cannot be read at all: missing, empty, or without a needed column."""


class FeedError(VolsvcError):
    """A live feed broke or is refused; it may be tried again.

    `reason` is a short, bounded label for metrics.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class StartupError(VolsvcError):
    """The daemon cannot start: a port in use, for example. It never starts half."""


class BusError(VolsvcError):
    """The bus refuses for good: wrong credentials, or a topic that may not be created."""


class BusUnavailableError(BusError):
    """The bus does not answer now; the operation may be tried again."""


class UnknownSymbolError(VolsvcError):
    """No tick of this symbol has been seen; `nearest` are the most similar known names."""

    def __init__(self, symbol: str, known: Iterable[str]) -> None:
        wanted = symbol.upper()
        # Comparing is slow; who asks for names that are not there must not hold up the others.
        alike = islice((name for name in known if name[:1] == wanted[:1]), MAX_COMPARED)
        nearest = difflib.get_close_matches(wanted, alike, n=3)
        hint = f"; did you mean {', '.join(nearest)}?" if nearest else ""
        super().__init__(f"no tick of symbol {symbol!r} has been seen{hint}")
        self.symbol = symbol
        self.nearest = tuple(nearest)
