"""A parser of Server-Sent Events without I/O: bytes in, events out."""

from __future__ import annotations

from typing import Final, NamedTuple

from pydantic import ValidationError

from volsvc.client.errors import UnexpectedAnswerError
from volsvc.web.schemas.stream import EVENTS, EventData

# Bytes of one line; the snapshot of ten thousand symbols is a third of it.
MAX_LINE_BYTES: Final = 64 * 1024 * 1024


class Event(NamedTuple):
    """One event; `id` is the newest id of the stream, from which it can be resumed."""

    id: str
    kind: str
    data: EventData


class EventParser:
    """Parses a stream from its start, or after the event `last_id`.

    `retry_s` is the time to wait before a reconnect, as the service asks for it.
    """

    def __init__(self, last_id: str | None = None) -> None:
        self.last_id = last_id
        self.retry_s = 0.0
        self._rest = b""
        self._fields: dict[str, str] = {}

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that these bytes complete; raises UnexpectedAnswerError."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            raise UnexpectedAnswerError(
                f"a line of the stream is longer than {MAX_LINE_BYTES} bytes"
            )
        try:
            events = [self._parse_line(line.decode().removesuffix("\r")) for line in lines]
        except UnicodeDecodeError as error:
            raise UnexpectedAnswerError(f"the stream is not UTF-8: {error}") from error
        return [event for event in events if event is not None]

    def _parse_line(self, line: str) -> Event | None:
        if line:
            name, _, value = line.partition(":")
            self._set_field(name, value.removeprefix(" "))
            return None
        fields, self._fields = self._fields, {}
        # Not before the empty line: after a break inside an event, that event must be sent again.
        self.last_id = fields.get("id", self.last_id)
        return self._event(fields)

    def _set_field(self, name: str, value: str) -> None:
        if name == "retry" and value.isascii() and value.isdigit():
            self.retry_s = int(value[:9]) / 1000
        elif name == "data" and name in self._fields:
            self._fields[name] += f"\n{value}"
            if len(self._fields[name]) > MAX_LINE_BYTES:
                raise UnexpectedAnswerError(f"an event is longer than {MAX_LINE_BYTES} bytes")
        # Others have no meaning, and without an end would fill the memory.
        elif name in ("id", "event", "data"):
            self._fields[name] = value

    def _event(self, fields: dict[str, str]) -> Event | None:
        """Return the event of these fields; None for a kind that only a newer service has."""
        kind = fields.get("event", "message")
        if "data" not in fields or kind not in EVENTS:
            return None
        try:
            data = EVENTS[kind].model_validate_json(fields["data"], extra="ignore")
        except ValidationError as error:
            raise UnexpectedAnswerError(f"an event {kind!r} cannot be read: {error}") from error
        return Event(self.last_id or "", kind, data)
