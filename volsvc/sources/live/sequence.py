"""Messages of one connection that were lost, repeated or overtaken, by the venue's numbers."""

from __future__ import annotations

from enum import Enum

# Messages after which a missing one is lost and not merely overtaken.
DEPTH = 3
# Numbers that are remembered, to know a repeated message.
REMEMBERED = 64


class Arrival(Enum):
    """What a message is to its connection."""

    NEW = "new"
    DUPLICATE = "duplicate"
    REORDERED = "reordered"
    RESET = "reset"


class SequenceCheck:
    """Follows the numbers of one connection; a new connection needs a new one."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._seen: dict[int, str] = {}
        self._missing: dict[int, int] = {}
        self._lost = 0

    def note(self, sequence: int, sent: str) -> Arrival:
        """Say what the message with this number, sent at this time, is."""
        if self._last is None or sequence > self._last:
            self._miss(sequence)
            self._last = sequence
            arrival = Arrival.NEW
        elif self._seen.get(sequence) == sent:
            return Arrival.DUPLICATE
        elif self._missing.pop(sequence, None) is not None:
            arrival = Arrival.REORDERED
        else:
            # The venue counts anew: what was still missing will not come.
            self._lost += len(self._missing)
            self._missing.clear()
            self._seen.clear()
            self._last = sequence
            arrival = Arrival.RESET
        self._remember(sequence, sent)
        return arrival

    def take_lost(self, *, closing: bool = False) -> int:
        """Messages found lost since the last call; at the end of a connection all that miss."""
        last = self._last or 0
        gone = [n for n, noticed in self._missing.items() if closing or last - noticed >= DEPTH]
        for number in gone:
            del self._missing[number]
        lost, self._lost = self._lost + len(gone), 0
        return lost

    def _miss(self, sequence: int) -> None:
        if self._last is None:
            return
        # A leap beyond what is remembered cannot be made good by a late message.
        first = max(self._last + 1, sequence - REMEMBERED)
        self._lost += first - self._last - 1
        self._missing.update((number, sequence) for number in range(first, sequence))

    def _remember(self, sequence: int, sent: str) -> None:
        self._seen[sequence] = sent
        if len(self._seen) > REMEMBERED:
            del self._seen[next(iter(self._seen))]
