"""Lost, repeated and overtaken messages of one connection, by the venue's sequence numbers."""

from __future__ import annotations

from enum import Enum

# Messages that may overtake a missing one before it counts as lost.
REORDER_DEPTH = 3
# Sequence numbers that are remembered, to recognise a repeated message.
REMEMBERED = 64


class MessageStatus(Enum):
    """The result of a message's check; the values are labels of a metric."""

    NEW = "new"
    DUPLICATE = "duplicate"
    REORDERED = "reordered"
    RESET = "reset"


class SequenceTracker:
    """Follows the sequence numbers of one connection; a new connection needs a new tracker."""

    def __init__(self) -> None:
        self._last: int | None = None
        # Time of sending by sequence number, oldest entry first.
        self._seen: dict[int, str] = {}
        # Missing numbers, each with the number whose arrival revealed it.
        self._missing: dict[int, int] = {}
        self._lost = 0

    def check(self, sequence: int, sent: str) -> MessageStatus:
        """Record a message and return its status; `sent` is its time of sending."""
        if self._last is None or sequence > self._last:
            self._note_missing(sequence)
            self._last = sequence
            status = MessageStatus.NEW
        elif self._seen.get(sequence) == sent:
            return MessageStatus.DUPLICATE
        elif self._missing.pop(sequence, None) is not None:
            status = MessageStatus.REORDERED
        else:
            # The venue started its count anew: what was still missing will not come.
            self._lost += len(self._missing)
            self._missing.clear()
            self._seen.clear()
            self._last = sequence
            status = MessageStatus.RESET
        self._remember(sequence, sent)
        return status

    def collect_lost(self, *, closing: bool = False) -> int:
        """Return the number of messages found lost since the last call.

        With `closing`, at the end of a connection, all missing messages are lost.
        """
        last = self._last or 0
        lost = [n for n, by in self._missing.items() if closing or last - by >= REORDER_DEPTH]
        for number in lost:
            del self._missing[number]
        count, self._lost = self._lost + len(lost), 0
        return count

    def _note_missing(self, sequence: int) -> None:
        if self._last is None:
            return
        # Numbers before the remembered range are counted but not kept, so that a leap of millions
        # costs no memory; a late message could not make it good anyway.
        first = max(self._last + 1, sequence - REMEMBERED)
        self._lost += first - self._last - 1
        self._missing.update((number, sequence) for number in range(first, sequence))

    def _remember(self, sequence: int, sent: str) -> None:
        self._seen[sequence] = sent
        if len(self._seen) > REMEMBERED:
            del self._seen[next(iter(self._seen))]
