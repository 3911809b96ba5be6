"""States of other logs, of partitions that come and go, and those that are written over."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from tests.unit.pipeline.logged import START_NS
from tests.unit.pipeline.recovering import TOPIC, Recovered, stored
from volsvc.domain import BusError
from volsvc.transport import OutRecord, Position
from volsvc.transport.features_record import RecordHeader, of_log


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
    state = recovered.recovery.overwritten(header)
    assert (state is not None) is found
    assert state is None or (state.symbol, state.offset) == ("A", 7)


async def test_a_write_while_the_partition_was_not_ours_ends_the_keeping() -> None:
    """Another process's record after the release means that our states are not the newest."""
    for partition, keeps in ((0, False), (1, True)):
        recovered = Recovered()
        await recovered.publish(stored("A", 7))
        await recovered.acquire(0)
        kept = recovered.history
        recovered.recovery.release([0], {0: 50})
        header = HEADER._replace(partition=partition)
        assert recovered.recovery.overwritten(header) is None
        await recovered.acquire(0)
        assert (recovered.history is kept) is keeps


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
    row = recovered.table.row_for("A", START_NS)
    recovered.table.state(row).record.ticks.offset = 7
    state = recovered.recovery.overwritten(HEADER._replace(position=0))
    assert state is not None
    assert (state.symbol, state.offset) == ("A", 7)


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
