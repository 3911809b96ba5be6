"""The seam between the live machine and a venue: what a socket says, and what a venue must know.

A venue is a parser without I/O and a few texts to send. Connections, watchdogs, order, back-fill
and limits are the same for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from volsvc.domain import InvalidTickError, Tick, tick_from_fields

_decode = msgspec.json.Decoder().decode


class Data(NamedTuple):
    """Ticks in the order of their times; `faults` are entries of the message that are none.

    A snapshot holds what happened before the subscription.
    """

    ticks: tuple[Tick, ...]
    snapshot: bool = False
    faults: tuple[InvalidTickError, ...] = ()


class Heartbeat(NamedTuple):
    """The venue is there."""


class Confirmed(NamedTuple):
    """Subscriptions that stand: (channel, symbol)."""

    pairs: frozenset[tuple[str, str]]


class Refusal(NamedTuple):
    """An error message, in the venue's words, and the symbol that it names, if any."""

    text: str
    symbol: str = ""


class Unused(NamedTuple):
    """A well-formed message that we have no use for."""

    kind: str


Content = Data | Heartbeat | Confirmed | Refusal | Unused


class Message(NamedTuple):
    """A message of the socket; `sequence` counts a connection's messages where the venue does.

    `sent` is the venue's time of sending as text, to tell a repeated message from a new one.
    """

    content: Content
    sequence: int | None = None
    sent: str = ""


class TradeGap(NamedTuple):
    """Trades of a symbol that were missed, both ids inclusive; `after_ns` is before them."""

    symbol: str
    first: int
    last: int
    after_ns: int


class Venue(Protocol):
    """What a venue must know; a second one is one file."""

    name: str
    ws_url: str
    rest_url: str

    @property
    def channel(self) -> str:
        """The channel whose messages become ticks."""
        ...

    def subscriptions(self, symbols: Sequence[str]) -> list[str]:
        """The messages that subscribe to ticks and heartbeats."""
        ...

    def parse(self, raw: str | bytes, received_ns: int) -> Message:
        """What a message says; raises InvalidTickError when it is malformed as a whole.

        `received_ns` is the event time of what the venue sends without one.
        """
        ...

    def trades_url(self, gap: TradeGap) -> str:
        """Path and query of the REST request for the first page of a hole."""
        ...

    def parse_trades(self, symbol: str, body: bytes) -> list[Tick]:
        """The trades of a page, oldest first; raises InvalidTickError."""
        ...


def decode_object(raw: str | bytes) -> Mapping[str, Any]:
    """The JSON object of a message; raises InvalidTickError when it is none."""
    message = decode(raw)
    if not isinstance(message, dict):
        raise InvalidTickError("message", "is not a JSON object", "json")
    return message


def decode(raw: str | bytes) -> Any:
    """The JSON of a message; raises InvalidTickError when it is none."""
    try:
        return _decode(raw)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InvalidTickError("message", f"is not JSON: {error}"[:200], "json") from error


def objects(message: Mapping[str, Any], field: str) -> list[Mapping[str, Any]]:
    """A list of objects inside a message; raises InvalidTickError when it is none."""
    found = message.get(field)
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise InvalidTickError(field, "is not a list of objects", "json")
    return found


def data_of(rows: Iterable[Mapping[str, Any]], source: str, *, snapshot: bool) -> Data:
    """Ticks of rows under our own names for fields, put into the order of times and ids."""
    ticks: list[Tick] = []
    faults: list[InvalidTickError] = []
    for row in rows:
        try:
            ticks.append(tick_from_fields(row, None, source))
        except InvalidTickError as error:
            faults.append(error)
    ticks.sort(key=lambda tick: (tick.time_ns, tick.trade_id or 0))
    return Data(tuple(ticks), snapshot, tuple(faults))
