"""Records of the ticks topic, and a bus that delivers given batches and keeps the commits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Final

from volsvc.domain import NS, Tick
from volsvc.transport import Beginning, OutRecord, Position, Record
from volsvc.transport.bus import FROM_START, Offsets, RebalanceListener
from volsvc.transport.codec import encode_tick
from volsvc.transport.memory import MemoryBus

START_NS: Final = 1_767_571_200 * NS
TOPIC: Final = "ticks.raw"


def tick(seconds: float, symbol: str = "A", **fields: Any) -> Tick:
    """Return a tick so many seconds after the start."""
    price = fields.pop("price", 100.0 + seconds % 7 / 50)
    return Tick(symbol, START_NS + round(seconds * NS), price, **fields)


def record(offset: int, content: Tick | bytes, partition: int = 0, **fields: Any) -> Record:
    """Return a tick, or any bytes under the key `A`, as a record at its place in the log."""
    sent = encode_tick(content) if isinstance(content, Tick) else OutRecord(b"A", content)
    return Record(TOPIC, partition, offset, sent.key, sent.value, **fields)


def records(ticks: Sequence[Tick], partition: int = 0, first: int = 0) -> list[Record]:
    """Return ticks as successive records of a partition."""
    return [record(offset, each, partition) for offset, each in enumerate(ticks, first)]


class ScriptedBus(MemoryBus):
    """An in-process bus whose subscription assigns given positions and delivers given batches.

    A follower gets the batches too. `commits` has the offsets of each commit; it is refused if
    `owned` is False.
    """

    def __init__(
        self,
        batches: Iterable[Sequence[Record]],
        positions: Mapping[int, Position] | None = None,
        *,
        owned: bool = True,
    ) -> None:
        super().__init__(partitions=2)
        self.commits: list[Offsets] = []
        self.subscribed: list[tuple[str, str]] = []
        self.owned = owned
        self.script = batches
        self._positions = positions or {0: Position(0, 100), 1: Position(0, 100)}

    def subscribe(  # type: ignore[override]
        self, topic: str, group: str, listener: RebalanceListener
    ) -> ScriptedSubscription:
        """Return the script's subscription."""
        self.subscribed.append((topic, group))
        return ScriptedSubscription(self, listener)

    async def play(self, listener: RebalanceListener) -> AsyncIterator[Sequence[Record]]:
        """Assign the positions, then yield the batches."""
        await listener.assigned(self._positions)
        for batch in self.script:
            yield batch

    async def follow(
        self, topic: str, reader: str, beginning: Beginning = FROM_START
    ) -> AsyncIterator[Sequence[Record]]:
        """Yield the batches."""
        for batch in self.script:
            yield batch

    async def log(self, topic: str) -> list[Record]:
        """Return all records of a topic, in partition after partition."""
        return [one async for batch in self.read_all(topic, range(2)) for one in batch]


class ScriptedSubscription:
    """A subscription of a `ScriptedBus`."""

    def __init__(self, bus: ScriptedBus, listener: RebalanceListener) -> None:
        self._bus = bus
        self._listener = listener

    def batches(self) -> AsyncIterator[Sequence[Record]]:
        """Yield the batches of the script."""
        return self._bus.play(self._listener)

    async def commit(self, offsets: Offsets) -> bool:
        """Keep the offsets."""
        self._bus.commits.append(offsets)
        return self._bus.owned
