"""A crash in any window between two steps of the consumer or the producer changes no result."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from tests.crash import Crash, crash
from tests.unit.pipeline.recorded import (
    BAD_PRINTS,
    COMMIT,
    FEATURES,
    FUTURE_TICKS,
    SYMBOLS,
    TICKS,
    TOLERANT,
    TOPICS,
    RecordingBus,
    Results,
    consume,
    content_of,
    filled_bus,
    results,
    tick_records,
)
from tests.unit.sources.replays import replay
from volsvc.config.settings import FeatureSettings
from volsvc.failpoints import Point, armed
from volsvc.features import SymbolTable
from volsvc.pipeline.producer import Producer
from volsvc.telemetry.metrics import Metrics

POINTS: tuple[Point, ...] = (
    "dead_letters_published",
    "outcomes_published",
    "states_published",
    "before_commit",
    "after_commit",
)


class Run(NamedTuple):
    """A run without a crash: its bus, table and results, and the settings of the features."""

    bus: RecordingBus
    table: SymbolTable
    left: Results
    features: FeatureSettings


# Far more than the batches of a run: each crash leaves some work done.
MAX_CRASHES = 50

LETTERS = {
    TOPICS.dead_letter_topic: "d",
    TOPICS.outcomes_topic: "o",
    TOPICS.features_topic: "f",
    COMMIT: "c",
}


@pytest.fixture(autouse=True, scope="module")
def small_batches() -> Iterator[None]:
    """Let the bus deliver many batches, so that each point is reached several times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("volsvc.transport.memory.BATCH_RECORDS", 45)
        yield


@pytest.fixture(scope="module", params=[FEATURES, TOLERANT], ids=["at_once", "tolerant"])
def undisturbed(request: pytest.FixtureRequest) -> Run:
    """Return a run without a crash."""
    features: FeatureSettings = request.param

    async def run() -> Run:
        bus = await filled_bus()
        table = await consume(bus, features)
        return Run(bus, table, results(bus, table), features)

    return asyncio.run(run())


async def until_crash(
    bus: RecordingBus, point: Point, after: int, features: FeatureSettings
) -> Results | None:
    """Consume until the point is reached after so many times; None, or the results at the end."""
    try:
        with armed(point, crash, after=after):
            return results(bus, await consume(bus, features))
    except Crash:
        return None


def test_each_step_comes_after_the_one_that_it_relies_on(undisturbed: Run) -> None:
    """Dead letters, outcomes, states, commit: this is the order of each batch and its flush."""
    bus = undisturbed.bus
    # The first step fills the bus.
    steps = "".join(LETTERS[name] for name, _ in bus.steps[1:])
    rounds = re.findall("[^c]*c", steps)
    assert "".join(rounds) == steps
    # The states of the publishing grid come first, then those of the flush.
    assert [each for each in rounds if not re.fullmatch("d?o?f?fc", each)] == []
    assert {"doffc", "offc"} <= set(rounds)


def test_the_ticks_reach_every_rule(undisturbed: Run) -> None:
    """The run has outcomes, dead letters, bad prints and rejected ticks, each counted once."""
    left = undisturbed.left
    states = [state.record.ticks for state in undisturbed.table]
    counts = [
        sum(int(state.check[name]) for state in states)
        for name in ("duplicates", "late", "gaps", "future", "accepted")
    ]
    assert counts == [1, 1, 0, FUTURE_TICKS, TICKS + BAD_PRINTS]
    waiting = sum(len(state.order or ()) for state in undisturbed.table)
    dropped, held = (
        sum(int(number) for number in numbers)
        for numbers in zip(
            *((s.prints.dropped, s.prints.held.present) for s in states), strict=True
        )
    )
    if undisturbed.features is FEATURES:
        # After the last bad print no tick comes that decides on it.
        assert (dropped + held, held, waiting) == (BAD_PRINTS, 1, 0)
    else:
        assert dropped >= BAD_PRINTS - waiting
        assert waiting >= len(SYMBOLS)
    assert left.states.keys() == set(SYMBOLS)
    assert len(left.dead_letters) == FUTURE_TICKS + 1
    assert len(left.outcomes) > 30


async def test_a_symbol_whose_every_tick_waits_is_published_before_the_commit() -> None:
    """Its record has the price of its first tick and no returns; the next owner goes on from it."""
    bus = RecordingBus()
    await bus.publish(TOPICS.topic, tick_records()[1:2])
    await bus.close()
    first = await consume(bus, TOLERANT)
    (record,) = bus.published(TOPICS.features_topic)
    shown = msgspec.json.decode(record.value or b"")
    assert (shown["n"], shown["quality"]["ticks"]) == (0, 0)
    assert shown["price"] == pytest.approx(100, abs=1)
    second = await consume(bus, TOLERANT)
    contents = [[content_of(table.stored(row)) for row in table.rows] for table in (first, second)]
    assert contents[0] == contents[1]
    assert [len(state.order or ()) for state in second] == [1]


@pytest.mark.parametrize("point", POINTS)
async def test_a_crash_at_any_time_changes_nothing(point: Point, undisturbed: Run) -> None:
    """After a crash at the first, second, … passage of a point, the results are undisturbed."""
    expected, features = undisturbed.left, undisturbed.features
    for after in count():
        bus = await filled_bus()
        if await until_crash(bus, point, after, features) is not None:
            break
        assert results(bus, await consume(bus, features)) == expected, after
    assert after >= 3


@pytest.mark.parametrize("point", POINTS)
async def test_crash_upon_crash_changes_nothing(point: Point, undisturbed: Run) -> None:
    """Consumers that all crash at their second passage of a point end with the same results."""
    expected, features = undisturbed.left, undisturbed.features
    bus, crashes = await filled_bus(), 0
    while (left := await until_crash(bus, point, 1, features)) is None:
        crashes += 1
        assert crashes < MAX_CRASHES
    assert left == expected
    assert crashes >= 2


async def producer_crashes(path: Path, bus: RecordingBus) -> bool:
    """Publish a file's ticks until the first batch is in the log; False if none was missing."""
    try:
        with armed("ticks_published", crash):
            await Producer(replay(path), bus, TOPICS.topic, Metrics()).run()
    except Crash:
        return True
    return False


async def test_a_producer_that_crashes_publishes_each_tick_once(minutes: Path) -> None:
    """Producers that crash after a batch leave every row of the file in the log, once."""
    bus, crashes = RecordingBus(), 0
    while await producer_crashes(minutes, bus):
        crashes += 1
        assert crashes < MAX_CRASHES
    rows = len(minutes.read_text().splitlines())
    positions = [dict(r.headers)["volsvc-position"] for r in bus.published(TOPICS.topic)]
    assert len(positions) == len(set(positions)) == rows
    assert crashes >= 2
