"""A bus that is away at times, and a tracer that records its spans."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from volsvc.domain import BusUnavailableError
from volsvc.telemetry.tracing import Headers, Kind
from volsvc.transport import OutRecord
from volsvc.transport.memory import MemoryBus


class UnsteadyBus(MemoryBus):
    """An in-process bus that fails so many publications, each after `arrives` of its records."""

    def __init__(self, failures: int, arrives: int = 0) -> None:
        super().__init__(partitions=2)
        self.failures = failures
        self.calls: list[tuple[str, int]] = []
        self._arrives = arrives

    async def publish(self, topic: str, records: Sequence[OutRecord]) -> None:
        """Append the records, or some of them and raise BusUnavailableError."""
        self.calls.append((topic, len(records)))
        if self.failures == 0:
            return await super().publish(topic, records)
        self.failures -= 1
        await super().publish(topic, records[: self._arrives])
        raise BusUnavailableError("is away")

    async def log(self, topic: str) -> list[bytes | None]:
        """Return the values of all records of a topic."""
        batches = self.read_all(topic, range(2))
        return [record.value async for batch in batches for record in batch]


def ceilings(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Have the waits between attempts take no time; return the list that gets their bounds."""
    found: list[float] = []

    def bound(low: float, high: float) -> float:
        found.append(high)
        return low

    monkeypatch.setattr("volsvc.backoff.random", SimpleNamespace(uniform=bound))
    return found


class RecordingTracer:
    """A tracer that records its spans; a span's header is its name."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, str, str | None]] = []
        self._open: list[str] = []

    @contextmanager
    def span(
        self,
        name: str,
        kind: Kind = "internal",
        attributes: Mapping[str, Any] | None = None,
        parent: str | None = None,
    ) -> Iterator[None]:
        """Record a span, which is open inside the block."""
        self.spans.append((name, kind, parent))
        self._open.append(name)
        yield
        self._open.pop()

    def headers(self) -> Headers:
        """Return the name of the innermost open span."""
        return (("traceparent", self._open[-1].encode()),) if self._open else ()

    def close(self) -> None:
        """There is nothing to send."""
