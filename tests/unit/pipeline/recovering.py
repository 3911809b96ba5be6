"""States in the log of features, and their recovery."""

from __future__ import annotations

from tests.applied import apply
from tests.unit.pipeline.logged import START_NS, tick
from tests.unit.pipeline.recorded import TOPICS
from tests.variations import FORECAST
from volsvc.config.settings import FeatureSettings
from volsvc.domain import format_time
from volsvc.features import SymbolTable
from volsvc.features.forecast_history import ForecastHistory
from volsvc.pipeline.state_recovery import StateRecovery
from volsvc.transport import OutRecord, Position
from volsvc.transport.codec import PublishedState, encode_features
from volsvc.transport.features_record import STATE_HEADER
from volsvc.transport.memory import MemoryBus

SETTINGS = FeatureSettings()
TOPIC = TOPICS.features_topic
# Offsets of ticks that no log of these tests has reached.
END = 1_000


def content(offset: int, partition: int, duplicates: int = 0) -> bytes:
    """Return the state of a symbol after one tick, which came so many times more."""
    table = SymbolTable(SETTINGS)
    row = table.row_for("A", START_NS)
    for _ in range(duplicates + 1):
        apply(table, tick(0))
    ticks = table.state(row).record.ticks
    ticks.partition, ticks.offset = partition, offset
    return table.stored(row)


def stored(
    symbol: str, offset: int, partition: int = 0, *, time_ns: int = START_NS, duplicates: int = 0
) -> OutRecord:
    """Return a features record with a symbol's state after the tick at an offset."""
    row = FORECAST.row._replace(symbol=symbol, time_ns=time_ns)
    state = PublishedState(partition, offset, None, content(offset, partition, duplicates))
    return encode_features(FORECAST._replace(row=row), state, format_time(time_ns), "writer#1")


def holding(record: OutRecord, state: bytes) -> OutRecord:
    """Return a features record with another state."""
    headers = tuple(
        (name, state if name == STATE_HEADER else text) for name, text in record.headers
    )
    return record._replace(headers=headers)


class Recovered:
    """A recovery over a log of features records in two partitions."""

    def __init__(self) -> None:
        self.bus = MemoryBus(partitions=2)
        self.table = SymbolTable(SETTINGS)
        self.recovery = StateRecovery(self.bus, TOPICS, self.table)

    async def publish(self, *records: OutRecord) -> None:
        """Append records of the features topic."""
        await self.bus.publish(TOPIC, records)

    async def ticks(self, partition: int, count: int) -> None:
        """Append ticks to a partition of the ticks topic."""
        await self.bus.publish(TOPICS.topic, [OutRecord(b"A", b"", (), partition)] * count)

    async def acquire(self, *partitions: int, at: int = 50) -> list[tuple[str, int]]:
        """Acquire partitions whose next ticks are at an offset; return what was overwritten."""
        positions = {partition: Position(at, END, fresh=False) for partition in partitions}
        states = await self.recovery.acquire(positions)
        return [(state.symbol, state.offset) for state in states]

    @property
    def history(self) -> ForecastHistory:
        """The forecasts of the symbol A: another object once its state was restored."""
        return self.table.get("A").forecast_history

    @property
    def offsets(self) -> dict[str, int]:
        """The offset of each symbol's state."""
        return {state.symbol: state.offset for state in self.table}
