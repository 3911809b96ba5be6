"""States of partitions: the newest of the log is restored, kept ones are used, and defended."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.applied import apply
from tests.unit.pipeline.logged import START_NS, tick
from tests.unit.pipeline.recorded import TOPICS
from tests.variations import SNAPSHOT
from volsvc.config.settings import FeatureSettings
from volsvc.domain import BusError
from volsvc.features import SymbolState, SymbolTable
from volsvc.pipeline.state_recovery import StateRecovery
from volsvc.transport import OutRecord, Position
from volsvc.transport.codec import encode_features
from volsvc.transport.features_record import RecordHeader, of_log
from volsvc.transport.memory import MemoryBus

SETTINGS = FeatureSettings()
TOPIC = TOPICS.features_topic
# Offsets of ticks that no log of these tests has reached.
END = 1_000


@cache
def dumped() -> Mapping[str, Any]:
    """Return the state of a symbol after one tick."""
    state = SymbolState("A", SETTINGS)
    apply(state, tick(0))
    return {**state.dump(), **state.dump_learnt()}


def stored(
    symbol: str, offset: int, partition: int = 0, *, time_ns: int = START_NS, **changes: Any
) -> OutRecord:
    """Return a features record with a symbol's state after the tick at an offset."""
    row = SNAPSHOT.row._replace(symbol=symbol, time_ns=time_ns)
    state = {**dumped(), "partition": partition, "offset": offset, **changes}
    return encode_features(replace(SNAPSHOT, row=row), state, START_NS, "writer#1")


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
        assert all(self.table.get(state.symbol) is state for state in states)
        return [(state.symbol, state.offset) for state in states]

    @property
    def offsets(self) -> dict[str, int]:
        """The offset of each symbol's state."""
        return {state.symbol: state.offset for state in self.table}


@given(st.lists(st.tuples(st.sampled_from("ABC"), st.integers(0, 5)), max_size=12))
def test_the_newest_state_is_restored(written: list[tuple[str, int]]) -> None:
    """In any order in the log, the highest offset wins; one under an older is rewritten."""

    async def run() -> tuple[list[tuple[str, int]], dict[str, int]]:
        recovered = Recovered()
        await recovered.publish(*(stored(symbol, offset) for symbol, offset in written))
        return await recovered.acquire(0, 1), recovered.offsets

    overwritten, offsets = asyncio.run(run())
    last = dict(written)
    newest = {symbol: max(o for s, o in written if s == symbol) for symbol in last}
    assert offsets == newest
    assert sorted(overwritten) == sorted(
        (symbol, newest[symbol]) for symbol in last if last[symbol] < newest[symbol]
    )


async def test_of_equal_offsets_the_later_state_is_restored() -> None:
    """A state that was written twice has the later content, with its partition and row."""
    recovered = Recovered()
    counts = [[1, 0, 0, 0, 1], [2, 0, 0, 0, 1]]
    orders = [{**dumped()["order"], "counts": each} for each in counts]
    await recovered.publish(*(stored("A", 7, 1, order=order) for order in orders))
    assert await recovered.acquire(1) == []
    state = recovered.table.get("A")
    assert (state.validator.duplicates, state.partition, state.offset) == (2, 1, 7)
    assert state.row is not None
    assert state.row.time_ns == START_NS


async def test_other_records_are_passed_over() -> None:
    """Beside the other symbols there is a warning with the place of each that cannot be read."""
    recovered = Recovered()
    broken = stored("BROKEN", 9)
    await recovered.publish(
        stored("A", 3),
        broken._replace(value=b"{}"),
        OutRecord(b"A", None, broken.headers, 0),
        OutRecord(b"A", b"{}", (), 0),
        stored("OLD", 3, v=1),
        # Found out only when a part of the state has been restored.
        stored("HALF", 3, order={}),
        stored("C", 4),
        stored("ELSEWHERE", 5, 1),
    )
    with capture_logs() as logs:
        assert await recovered.acquire(0) == []
    assert recovered.offsets == {"A": 3, "C": 4}
    warnings = [entry for entry in logs if entry["log_level"] == "warning"]
    assert {entry["event"] for entry in warnings} == {"state_not_restored"}
    assert [(entry["topic"], entry["partition"], entry["offset"]) for entry in warnings] == [
        (TOPIC, 0, offset) for offset in (1, 4, 5)
    ]
    assert "features record" in warnings[0]["error"]
    assert warnings[1]["error"] == "state version 1 is not 3"


async def test_a_symbol_that_is_not_configured_is_not_restored() -> None:
    """A state of a symbol that the settings no longer allow is passed over."""
    recovered = Recovered()
    table = SymbolTable(FeatureSettings(symbols=("A",)))
    await recovered.publish(stored("B", 3), stored("A", 3))
    recovery = StateRecovery(recovered.bus, TOPICS, table)
    await recovery.acquire({0: Position(4, END, fresh=False)})
    assert [state.symbol for state in table] == ["A"]


async def test_old_symbols_make_room_for_restored_ones() -> None:
    """A full table drops the symbols that had no tick for long before the restored one's."""
    recovered = Recovered()
    table = SymbolTable(FeatureSettings(max_symbols=1, symbol_ttl_s=1))
    later_ns = START_NS + 1_000_000_001
    await recovered.publish(stored("A", 3), stored("B", 3), stored("C", 3, time_ns=later_ns))
    await StateRecovery(recovered.bus, TOPICS, table).acquire({0: Position(4, END, fresh=False)})
    assert [state.symbol for state in table] == ["C"]


async def test_the_log_says_what_was_restored() -> None:
    """Partitions that were kept are not read again, and are not in the log's line."""
    recovered = Recovered()
    await recovered.publish(stored("A", 3), stored("B", 3, 1))
    with capture_logs() as logs:
        await recovered.acquire(1, 0)
        recovered.recovery.release([0, 1], {0: 50})
        await recovered.acquire(0, 1)
        recovered.recovery.release([0, 1], {0: 50, 1: 50})
        # Nothing is restored, so the topic need not even be there.
        recovered.bus.read_all = unreadable  # type: ignore[method-assign,assignment]
        await recovered.acquire(0, 1)
    line = {"event": "state_restored", "log_level": "info", "symbols": 2}
    assert logs == [{**line, "partitions": partitions} for partitions in ([0, 1], [1])]


def unreadable(topic: str, partitions: object) -> None:
    """Fail, as a topic without partitions to read does."""
    raise AssertionError(topic)


async def test_a_partition_that_was_not_ours_is_not_kept() -> None:
    """Its states are restored when it is assigned, whatever was committed there."""
    recovered = Recovered()
    await recovered.publish(stored("B", 3, 1))
    await recovered.acquire(0)
    recovered.recovery.release([1], {1: 50})
    await recovered.acquire(1)
    assert recovered.offsets == {"B": 3}


async def test_a_partition_that_comes_back_keeps_its_states() -> None:
    """States committed at the release are still there if nobody has owned the partition since."""
    recovered = Recovered()
    await recovered.publish(stored("A", 3), stored("B", 3, 1))
    await recovered.acquire(0, 1)
    kept = recovered.table.get("A")
    recovered.recovery.release([0, 1], {0: 50, 1: 50})
    # The log has newer states of both, but only of one partition a later commit.
    await recovered.publish(stored("A", 8), stored("B", 8, 1))
    positions = {0: Position(50, END, fresh=False), 1: Position(51, END, fresh=False)}
    assert await recovered.recovery.acquire(positions) == []
    assert recovered.table.get("A") is kept
    assert recovered.offsets == {"A": 3, "B": 8}


async def test_a_restore_is_not_undone_by_an_older_release() -> None:
    """States kept for one assignment are not kept for the one after it."""
    recovered = Recovered()
    await recovered.publish(stored("A", 3))
    await recovered.acquire(0)
    recovered.recovery.release([0], {0: 50})
    assert await recovered.acquire(1) == []
    assert recovered.offsets == {}
    await recovered.acquire(0)
    assert recovered.offsets == {"A": 3}


@pytest.mark.parametrize("committed", [{}, {1: 50}])
async def test_what_was_not_committed_is_restored_again(committed: dict[int, int]) -> None:
    """States of a partition whose release had no commit are dropped."""
    recovered = Recovered()
    await recovered.publish(stored("A", 3))
    await recovered.acquire(0)
    kept = recovered.table.get("A")
    recovered.recovery.release([0], committed)
    await recovered.acquire(0)
    assert recovered.table.get("A") is not kept
    assert recovered.offsets == {"A": 3}


async def test_a_reset_keeps_nothing() -> None:
    """After a reset every state comes from the log, and no record is seen as overwriting one."""
    recovered = Recovered()
    await recovered.publish(stored("A", 3))
    await recovered.acquire(0)
    kept = recovered.table.get("A")
    recovered.recovery.release([0], {0: 50})
    recovered.recovery.reset()
    assert recovered.offsets == {}
    await recovered.acquire(0)
    assert recovered.table.get("A") is not kept
    recovered.recovery.reset()
    assert recovered.recovery.overwritten(RecordHeader("A", 0, 9, 2, "other#1")) is None


@pytest.mark.parametrize(
    ("position", "refused"),
    [
        (Position(0, 8), False),
        (Position(0, 7), True),
        (Position(0, 0), True),
        (Position(0, 0, fresh=False), False),
    ],
)
async def test_states_of_another_log_are_refused(position: Position, refused: bool) -> None:
    """A state beyond the end of ticks of which none is committed stops the consumer."""
    recovered = Recovered()
    await recovered.ticks(0, position.end)
    await recovered.publish(stored("A", 7))
    if not refused:
        await recovered.recovery.acquire({0: position})
        assert recovered.offsets == {"A": 7}
        return
    with pytest.raises(BusError) as caught:
        await recovered.recovery.acquire({0: position})
    text = str(caught.value)
    for part in ("A is of offset 7", f"ticks.raw/0 ends at {position.end}", f"delete {TOPIC}"):
        assert part in text


async def test_the_check_passes_over_other_partitions() -> None:
    """A kept state and a restored one are each checked against their own partition."""
    recovered = Recovered()
    await recovered.publish(stored("A", 7), stored("B", 7, 1))
    await recovered.recovery.acquire({0: Position(0, 8), 1: Position(0, 9)})
    with pytest.raises(BusError, match="B is of offset 7"):
        await recovered.recovery.acquire({0: Position(0, 8), 1: Position(0, 7)})


async def test_an_owner_that_was_paused_in_its_takeover_is_not_told_to_delete_anything() -> None:
    """A state of ticks that came after the position was measured is of the same log."""
    recovered = Recovered()
    await recovered.ticks(0, 8)
    await recovered.publish(stored("A", 7))
    await recovered.recovery.acquire({0: Position(0, 0)})
    assert recovered.offsets == {"A": 7}


async def test_states_of_another_topic_are_not_restored() -> None:
    """They are counted in the log, and neither adopted nor written over; old ones name no log."""
    recovered = Recovered()
    await recovered.publish(
        of_log(stored("A", 3), "ticks.raw/2"),
        of_log(stored("A", 9), "else.raw/2"),
        of_log(stored("B", 9), "else.raw/2"),
        # Of a topic `ticks.raw/old`, and not of ours with another number of partitions.
        of_log(stored("D", 9), "ticks.raw/old/2"),
        stored("C", 4),
    )
    with capture_logs() as logs:
        assert await recovered.acquire(0) == []
    assert recovered.offsets == {"A": 3, "C": 4}
    line = {"event": "states_not_restored", "log_level": "warning", "ticks": "ticks.raw/2"}
    assert [one for one in logs if one["event"] == "states_not_restored"] == [
        {**line, "symbols": 2, "of": "else.raw/2"},
        {**line, "symbols": 1, "of": "ticks.raw/old/2"},
    ]


async def test_states_of_another_number_of_partitions_are_refused() -> None:
    """Symbols have other partitions now; the error says what to do, and what not."""
    recovered = Recovered()
    await recovered.publish(of_log(stored("A", 3), "ticks.raw/1"))
    with pytest.raises(BusError) as caught:
        await recovered.acquire(0)
    text = str(caught.value)
    assert text.startswith(f"{TOPIC} has states of ticks.raw/1, which is ticks.raw/2 now")
    assert "Set kafka.topic to a new topic" in text


HEADER = RecordHeader("A", 0, 2, 6, "other#1")


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (HEADER, True),
        (HEADER._replace(offset=7), False),
        (HEADER._replace(offset=8), False),
        # Read by the restore: the log had two records then, one of them no state.
        (HEADER._replace(position=1), False),
        (HEADER._replace(symbol="B"), False),
        (HEADER._replace(partition=1), False),
    ],
)
async def test_our_state_is_found_if_an_older_one_is_over_it(
    header: RecordHeader, found: bool
) -> None:
    """A later record of another process, with a lower offset, is over our state."""
    recovered = Recovered()
    await recovered.publish(stored("A", 7), OutRecord(b"A", None, (), 0))
    await recovered.acquire(0)
    expected = recovered.table.get("A") if found else None
    assert recovered.recovery.overwritten(header) is expected


async def test_a_write_while_the_partition_was_not_ours_ends_the_keeping() -> None:
    """Another process's record after the release means that our states are not the newest."""
    for partition, keeps in ((0, False), (1, True)):
        recovered = Recovered()
        await recovered.publish(stored("A", 7))
        await recovered.acquire(0)
        kept = recovered.table.get("A")
        recovered.recovery.release([0], {0: 50})
        header = HEADER._replace(partition=partition)
        assert recovered.recovery.overwritten(header) is None
        await recovered.acquire(0)
        assert (recovered.table.get("A") is kept) is keeps


async def test_a_kept_partition_knows_what_its_restore_had_read() -> None:
    """After the return of a partition the records before its first restore are still old."""
    recovered = Recovered()
    await recovered.publish(stored("A", 7), stored("A", 7))
    await recovered.acquire(0)
    recovered.recovery.release([0], {0: 50})
    await recovered.acquire(0)
    assert recovered.recovery.overwritten(HEADER._replace(position=1)) is None
    assert recovered.recovery.overwritten(HEADER._replace(position=2)) is not None


async def test_an_empty_partition_is_defended_from_its_start() -> None:
    """A record at position 0 counts where the restore had read nothing."""
    recovered = Recovered()
    await recovered.acquire(0)
    state = recovered.table.state_for("A", START_NS)
    state.offset = 7
    assert recovered.recovery.overwritten(HEADER._replace(position=0)) is state


@pytest.mark.parametrize("symbols", [7, 8, 15, 17])
async def test_others_have_their_turn_during_a_restore(symbols: int) -> None:
    """Between eight states and the next eight another task may run."""
    recovered = Recovered()
    await recovered.publish(*(stored(f"S{number}", 1) for number in range(symbols)))
    restored: list[int] = []

    async def watch() -> None:
        while len(recovered.table) < symbols:
            restored.append(len(recovered.table))
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    await recovered.acquire(0)
    await watching
    assert restored == list(range(8, symbols, 8))
