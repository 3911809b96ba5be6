"""States of partitions: the newest of the log is restored, kept ones are used, and defended."""

from __future__ import annotations

import asyncio
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.unit.features.version_3 import value_of
from tests.unit.pipeline.logged import START_NS
from tests.unit.pipeline.recorded import TOPICS
from tests.unit.pipeline.recovering import END, TOPIC, Recovered, content, holding, stored
from volsvc.config.settings import FeatureSettings
from volsvc.features import SymbolTable
from volsvc.features.stored_state import StoredState, pack
from volsvc.pipeline.state_recovery import StateRecovery
from volsvc.transport import OutRecord, Position
from volsvc.transport.features_record import RecordHeader, state_headers


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
    await recovered.publish(*(stored("A", 7, 1, duplicates=number) for number in (1, 2)))
    assert await recovered.acquire(1) == []
    state = recovered.table.get("A")
    assert (state.quality().duplicates, state.partition, state.offset) == (2, 1, 7)
    assert state.row is not None
    assert state.row.time_ns == START_NS


async def test_other_records_are_passed_over() -> None:
    """Beside the other symbols there is a warning with the place of each that cannot be read."""
    recovered = Recovered()
    broken, old = stored("BROKEN", 9), stored("OLD", 3)
    state = msgspec.msgpack.decode(content(3, 0), type=StoredState)
    other = pack(msgspec.structs.replace(state, schema="another"))
    # Of more prices than the record counts.
    half = pack(msgspec.structs.replace(state, prices=2 * state.prices, times=2 * state.times))
    nan = np.full(len(state.daily) // 8, math.nan).tobytes()
    days = pack(msgspec.structs.replace(state, daily=nan))
    await recovered.publish(
        stored("A", 3),
        broken._replace(value=b"{}"),
        OutRecord(b"A", None, broken.headers, 0),
        OutRecord(b"A", b"{}", (), 0),
        old._replace(value=(old.value or b"").replace(b'"v":4', b'"v":3')),
        holding(stored("HALF", 3), half),
        holding(stored("OTHER", 3), other),
        holding(stored("EMPTY", 3), b""),
        holding(stored("DAYS", 3), days),
        stored("C", 4),
        stored("ELSEWHERE", 5, 1),
    )
    with capture_logs() as logs:
        assert await recovered.acquire(0) == []
    assert recovered.offsets == {"A": 3, "C": 4}
    warnings = [entry for entry in logs if entry["log_level"] == "warning"]
    assert {entry["event"] for entry in warnings} == {"state_not_restored"}
    assert [(entry["topic"], entry["partition"], entry["offset"]) for entry in warnings] == [
        (TOPIC, 0, offset) for offset in (1, 4, 5, 6, 7, 8)
    ]
    errors = [entry["error"] for entry in warnings]
    assert "features record" in errors[0]
    assert "3 is not 4" in errors[1]
    assert "out of its range" in errors[2]
    assert errors[3].startswith("state of layout another is not ")
    assert "is no state" in errors[4]
    assert "out of its range" in errors[5]


async def test_states_of_version_3_are_migrated_and_counted() -> None:
    """One that is not valid is passed over, as any other."""
    recovered = Recovered()
    broken = value_of("without_ids")
    del broken["state"]["order"]["counts"]
    values = (value_of("held"), value_of("waiting"), broken)
    written = [
        OutRecord(
            value["symbol"].encode(),
            msgspec.json.encode(value),
            state_headers(value["state"]["offset"], "writer#1", b"")[:2],
            0,
        )
        for value in values
    ]
    await recovered.publish(*written, stored("A", 3))
    with capture_logs() as logs:
        await recovered.acquire(0)
    offsets = {value["symbol"]: value["state"]["offset"] for value in values[:2]}
    assert recovered.offsets == {**offsets, "A": 3}
    refused, migrated, _ = logs
    assert refused["event"] == "state_not_restored"
    assert "counts" in refused["error"]
    assert migrated == {"event": "states_migrated", "log_level": "info", "symbols": 2}


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
    kept = recovered.history
    recovered.recovery.release([0, 1], {0: 50, 1: 50})
    # The log has newer states of both, but only of one partition a later commit.
    await recovered.publish(stored("A", 8), stored("B", 8, 1))
    positions = {0: Position(50, END, fresh=False), 1: Position(51, END, fresh=False)}
    assert await recovered.recovery.acquire(positions) == []
    assert recovered.history is kept
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
    kept = recovered.history
    recovered.recovery.release([0], committed)
    await recovered.acquire(0)
    assert recovered.history is not kept
    assert recovered.offsets == {"A": 3}


async def test_a_reset_keeps_nothing() -> None:
    """After a reset every state comes from the log, and no record is seen as overwriting one."""
    recovered = Recovered()
    await recovered.publish(stored("A", 3))
    await recovered.acquire(0)
    kept = recovered.history
    recovered.recovery.release([0], {0: 50})
    recovered.recovery.reset()
    assert recovered.offsets == {}
    await recovered.acquire(0)
    assert recovered.history is not kept
    recovered.recovery.reset()
    assert recovered.recovery.overwritten(RecordHeader("A", 0, 9, 2, "other#1")) is None
