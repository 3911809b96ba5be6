"""The protocol that a venue implements, and the messages that its parser returns.

A venue is a parser without I/O and a few texts to send. Connections, watchdogs, ordering, back-fill
and rate limits are the same for all venues.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, ParamSpec, Protocol, TypeVar

import msgspec

from volsvc.domain import InvalidTickError, SourceError, Tick, is_symbol, tick_from_fields

# The kind of messages that become ticks (`source.feed`).
FeedKind = Literal["trades", "ticker"]

_decode = msgspec.json.Decoder().decode
# Errors of code that meets a list for a text, or an object of a thousand levels.
_FOREIGN_FORM = (
    *(ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError),
    msgspec.MsgspecError,
)
Price = Annotated[float, msgspec.Meta(gt=0)]
Size = Annotated[float, msgspec.Meta(ge=0)]
P = ParamSpec("P")
T = TypeVar("T")


class Subscription(NamedTuple):
    """A channel of a venue for one symbol."""

    channel: str
    symbol: str


class MarketData(NamedTuple):
    """The ticks of a message in the order of their times, and the errors of its invalid entries.

    A snapshot holds what happened before the subscription.
    """

    ticks: tuple[Tick, ...]
    snapshot: bool = False
    errors: tuple[InvalidTickError, ...] = ()


class Heartbeat(NamedTuple):
    """A sign of life without data."""


class SubscriptionAck(NamedTuple):
    """The venue's confirmation of subscriptions."""

    subscriptions: frozenset[Subscription]


class ErrorMessage(NamedTuple):
    """An error message: the venue's text, and the symbol that it names, if any."""

    text: str
    symbol: str = ""


class IgnoredMessage(NamedTuple):
    """A well-formed message that is not needed."""

    kind: str


Content = MarketData | Heartbeat | SubscriptionAck | ErrorMessage | IgnoredMessage


class Message(NamedTuple):
    """A parsed message of the WebSocket.

    `sequence` numbers the messages of a connection, None if the venue does not. `sent` is the
    venue's time of sending as text, which tells a repeated message from a new one.
    """

    content: Content
    sequence: int | None = None
    sent: str = ""


class TradeGap(NamedTuple):
    """Missing trades of a symbol, both ids inclusive.

    `after_ns` is the time of the newest trade before them.
    """

    symbol: str
    first: int
    last: int
    after_ns: int


class Candle(NamedTuple):
    """The prices and the volume of a minute; `start_s` is in seconds since the epoch."""

    start_s: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class Venue(Protocol):
    """An exchange: its addresses, its subscriptions and its message formats.

    A page has `candles_per_page` one-minute candles; older ones than the `newest_candles` are not
    to be had, None for any age.
    """

    name: str
    ws_url: str
    rest_url: str
    candles_per_page: int
    newest_candles: int | None

    @property
    def channel(self) -> str:
        """The channel whose messages become ticks."""
        ...

    def symbol(self, name: str) -> str:
        """Return our name of a symbol, which its ticks have, for a name that a user wrote.

        Raises SourceError, with the name to write instead, if the venue has none of that name.
        """
        ...

    def subscribe_messages(self, symbols: Sequence[str]) -> list[str]:
        """Return the messages that subscribe to ticks and heartbeats."""
        ...

    def parse(self, raw: str | bytes, received_ns: int) -> Message:
        """Parse a message; raises InvalidTickError if it is malformed as a whole.

        `received_ns` is the event time of ticks that the venue sends without a time.
        """
        ...

    def trades_url(self, gap: TradeGap) -> str:
        """Return path and query of the REST request for the first page of a gap."""
        ...

    def parse_trades(self, symbol: str, body: bytes) -> list[Tick]:
        """Parse a REST page of trades, oldest first; raises InvalidTickError."""
        ...

    def candles_url(self, symbol: str, start_s: int, count: int) -> str:
        """Return path and query of the REST request for `count` one-minute candles.

        `start_s` is the start of the first one, in seconds since the epoch.
        """
        ...

    def parse_candles(self, body: bytes) -> list[Candle]:
        """Parse a REST page of candles, oldest first; raises InvalidTickError."""
        ...


def our_symbol(name: str) -> str:
    """Return a symbol in our form, `BTC-USD`, also of the form `BTC/USD`; raises SourceError."""
    if not is_symbol(name):
        raise SourceError(f"{name!r} is not a valid symbol name")
    return name.replace("/", "-")


def parsed(parse: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """Call a parser; raises InvalidTickError for whatever it raises on a foreign form.

    Nothing that a venue sends may end the process.
    """
    try:
        return parse(*args, **options)
    except _FOREIGN_FORM as error:
        raise InvalidTickError("message", f"has another form: {error!r}"[:200], "json") from error


def decode_object(raw: str | bytes) -> Mapping[str, Any]:
    """Decode a JSON object; raises InvalidTickError if the message is not one."""
    message = decode(raw)
    if not isinstance(message, dict):
        raise InvalidTickError("message", "is not a JSON object", "json")
    return message


def decode(raw: str | bytes) -> Any:
    """Decode a JSON value; raises InvalidTickError if the message is not JSON."""
    try:
        return _decode(raw)
    # A deeply nested message exhausts the stack, and bytes may not be UTF-8.
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InvalidTickError("message", f"is not JSON: {error}"[:200], "json") from error


def converted_rows(rows: object, kind: type[T]) -> list[T]:
    """Return rows as tuples of a kind, in which numbers may be texts; raises InvalidTickError."""
    try:
        return msgspec.convert(rows, list[kind], strict=False)  # type: ignore[valid-type]
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidTickError("candles", str(error)[:200], "json") from error


def object_list(message: Mapping[str, Any], field: str) -> list[Mapping[str, Any]]:
    """Return a field that holds a list of objects; raises InvalidTickError if it does not."""
    found = message.get(field)
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise InvalidTickError(field, "is not a list of objects", "json")
    return found


def market_data(rows: Iterable[Mapping[str, Any]], source: str, *, snapshot: bool) -> MarketData:
    """Make ticks of rows whose fields have our names, sorted by time and trade id."""
    ticks: list[Tick] = []
    errors: list[InvalidTickError] = []
    for row in rows:
        # One bad entry costs only itself, not the other trades of the message.
        try:
            ticks.append(tick_from_fields(row, None, source))
        except InvalidTickError as error:
            errors.append(error)
    # Venues send snapshots newest first and updates oldest first.
    ticks.sort(key=lambda tick: (tick.time_ns, tick.trade_id or 0))
    return MarketData(tuple(ticks), snapshot, tuple(errors))
