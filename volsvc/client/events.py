"""Server-Sent Events: bytes in, events out. No I/O."""

from __future__ import annotations

from typing import Final, NamedTuple

from pydantic import ValidationError

from volsvc.client.errors import UnexpectedAnswerError
from volsvc.web.schemas.stream import EVENTS, EventData

# Of one line: the snapshot of ten thousand symbols is a third of it.
MOST_BYTES: Final = 64 * 1024 * 1024


class Event(NamedTuple):
    """One event; `id` is that of the newest one that had any, to go on from."""

    id: str
    kind: str
    data: EventData


class EventParser:
    """Reads a stream from its beginning, or after the event `last_id`.

    `retry_s` is how long the service asks to wait before coming back.
    """

    def __init__(self, last_id: str | None = None) -> None:
        self.last_id = last_id
        self.retry_s = 0.0
        self._rest = b""
        self._fields: dict[str, str] = {}

    def feed(self, data: bytes) -> list[Event]:
        """The events that these bytes complete; raises UnexpectedAnswerError."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MOST_BYTES:
            raise UnexpectedAnswerError(f"a line of the stream is longer than {MOST_BYTES} bytes")
        events = (self._take(line.decode().removesuffix("\r")) for line in lines)
        return [event for event in events if event is not None]

    def _take(self, line: str) -> Event | None:
        if line:
            name, _, value = line.partition(":")
            self._note(name, value.removeprefix(" "))
            return None
        fields, self._fields = self._fields, {}
        # Only what is whole counts: a break inside an event must bring that event again.
        self.last_id = fields.get("id", self.last_id)
        return self._event(fields)

    def _note(self, name: str, value: str) -> None:
        if name == "retry" and value.isascii() and value.isdigit():
            self.retry_s = int(value[:9]) / 1000
        elif name == "data" and name in self._fields:
            self._fields[name] += f"\n{value}"
        else:
            self._fields[name] = value

    def _event(self, fields: dict[str, str]) -> Event | None:
        """The event of these fields; None when a newer service speaks of something new."""
        kind = fields.get("event", "message")
        if "data" not in fields or kind not in EVENTS:
            return None
        try:
            data = EVENTS[kind].model_validate_json(fields["data"], extra="ignore")
        except ValidationError as error:
            raise UnexpectedAnswerError(f"an event {kind!r} cannot be read: {error}") from error
        return Event(self.last_id or "", kind, data)
