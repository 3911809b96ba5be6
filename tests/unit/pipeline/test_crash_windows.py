"""A crash in any window between two steps of the consumer or the producer changes no result."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import msgspec
import pytest

from tests.crash import Crash, crash
from tests.unit.pipeline.recorded import (
    BAD_PRINTS,
    COMMIT,
    FUTURE_TICKS,
    SYMBOLS,
    TICKS,
    TOPICS,
    RecordingBus,
    Results,
    consume,
    filled_bus,
    results,
)
from tests.unit.sources.replays import replay
from volsvc.failpoints import Point, armed
from volsvc.pipeline.producer import Producer
from volsvc.telemetry.metrics import Metrics

POINTS: tuple[Point, ...] = (
    "dead_letters_published",
    "outcomes_published",
    "states_published",
    "before_commit",
    "after_commit",
)
Run = tuple[RecordingBus, Results]

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


@pytest.fixture(scope="module")
def undisturbed() -> Run:
    """Return the bus and the results of a run without a crash."""

    async def run() -> Run:
        bus = await filled_bus()
        return bus, results(bus, await consume(bus))

    return asyncio.run(run())


async def until_crash(bus: RecordingBus, point: Point, after: int) -> Results | None:
    """Consume until the point is reached after so many times; None, or the results at the end."""
    try:
        with armed(point, crash, after=after):
            return results(bus, await consume(bus))
    except Crash:
        return None


def test_each_step_comes_after_the_one_that_it_relies_on(undisturbed: Run) -> None:
    """Dead letters, outcomes, states, commit: this is the order of each batch and its flush."""
    bus, _ = undisturbed
    # The first step fills the bus.
    steps = "".join(LETTERS[name] for name, _ in bus.steps[1:])
    rounds = re.findall("[^c]*c", steps)
    assert "".join(rounds) == steps
    # The states of the publishing grid come first, then those of the flush.
    assert [each for each in rounds if not re.fullmatch("d?o?f?fc", each)] == []
    assert {"doffc", "offc"} <= set(rounds)


def test_the_ticks_reach_every_rule(undisturbed: Run) -> None:
    """The run has outcomes, dead letters, bad prints and rejected ticks, each counted once."""
    _, left = undisturbed
    counts = [msgspec.json.decode(state)["order"]["counts"] for state in left.states.values()]
    duplicates, late, gaps, future, accepted = map(sum, zip(*counts, strict=True))
    assert (duplicates, late, gaps, future) == (1, 1, 0, FUTURE_TICKS)
    assert accepted == TICKS + BAD_PRINTS
    states = [msgspec.json.decode(state) for state in left.states.values()]
    prints = [state.get("prints", (0, None)) for state in states]
    # After the last bad print no tick comes that decides on it.
    assert sum(dropped + (held is not None) for dropped, held in prints) == BAD_PRINTS
    assert sum(held is not None for _, held in prints) == 1
    assert left.states.keys() == set(SYMBOLS)
    assert len(left.dead_letters) == FUTURE_TICKS + 1
    assert len(left.outcomes) > 30


@pytest.mark.parametrize("point", POINTS)
async def test_a_crash_at_any_time_changes_nothing(point: Point, undisturbed: Run) -> None:
    """After a crash at the first, second, … passage of a point, the results are undisturbed."""
    _, expected = undisturbed
    for after in count():
        bus = await filled_bus()
        if await until_crash(bus, point, after) is not None:
            break
        assert results(bus, await consume(bus)) == expected, after
    assert after >= 3


@pytest.mark.parametrize("point", POINTS)
async def test_crash_upon_crash_changes_nothing(point: Point, undisturbed: Run) -> None:
    """Consumers that all crash at their second passage of a point end with the same results."""
    _, expected = undisturbed
    bus, crashes = await filled_bus(), 0
    while (left := await until_crash(bus, point, 1)) is None:
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
