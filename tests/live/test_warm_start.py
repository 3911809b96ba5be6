"""Tests of the candles with which a live symbol begins, also with a venue that answers badly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.live.feed import START_NS, SYMBOL, Feed, exchange, listening, settings, trades
from volsvc.config.warmup import WarmupSettings
from volsvc.domain import NS
from volsvc.domain.minute_bars import BarSeries
from volsvc.simulator import Fault
from volsvc.sources.generated_past import past_bars
from volsvc.sources.generator import GeneratorSpec

STEPS = 12
MINUTE = START_NS // (60 * NS)
DAY = 1_440
BARS = past_bars(SYMBOL, GeneratorSpec((SYMBOL,), 7, START_NS), 3)
# Pages of a day.
PAGES = 5


def fault(kind: str, count: int = 1, seconds: float = 0.0) -> Fault:
    return Fault.model_validate({"kind": kind, "at": 0, "count": count, "seconds": seconds})


async def begun(
    *faults: Fault, bars: BarSeries = BARS, symbols: int = 1, **warmup: Any
) -> tuple[Feed, BarSeries | None]:
    """Return a feed that has delivered all trades, and the bars that came with the first one."""
    names = [SYMBOL, *(f"S{number}-USD" for number in range(1, symbols))]
    keys = WarmupSettings(**{"days": 1, **warmup})
    async with exchange(trades(STEPS), *faults, bars={SYMBOL: bars}) as simulator:
        source = settings(simulator, rest_per_s=1_000)
        async with listening(source, names, warmup=keys) as feed:
            await feed.until(lambda: len(feed.rows) == 2 * STEPS, "all trades have come")
            first, *others = feed.rows
            assert [row.position for row in feed.rows] == list(range(2 * STEPS))
            assert feed.ids == [trade.trade_id for trade in trades(STEPS)]
            assert all(row.past is None for row in others)
            return feed, first.past.bars if first.past else None


def assert_equal(found: BarSeries | None, expected: BarSeries) -> None:
    assert found is not None
    assert found.minutes.tolist() == expected.minutes.tolist()
    np.testing.assert_array_equal(found.values, expected.values)


@pytest.mark.parametrize(
    "faults",
    [
        (),
        (fault("rest_429", 3),),
        (fault("rest_half", 2),),
        (fault("rest_half", 1), fault("rest_429", 2), fault("rest_half", 1)),
        (fault("rest_slow", 2, 0.2),),
    ],
    ids=["none", "throttled", "half", "mixed", "slow"],
)
async def test_a_symbol_begins_with_its_candles(faults: tuple[Fault, ...]) -> None:
    """All candles of the days come in order before the first trade, however the venue answers."""
    feed, found = await begun(*faults)
    assert_equal(found, BARS.between(MINUTE - DAY, MINUTE))
    assert feed.metric('volsvc_feed_symbols_warmed_total{outcome="warmed"}') == 1


async def test_an_empty_page_is_a_hole() -> None:
    """A page that the venue does not have is left out, and older ones are fetched all the same."""
    _, found = await begun(fault("rest_half", 1), fault("rest_empty", 2))
    assert found is not None
    # Of the half page the newer half was asked for again, and was not there.
    assert found.minutes[-1] < MINUTE - 100
    assert found.minutes[0] == MINUTE - DAY


async def test_what_has_come_by_the_deadline_is_used() -> None:
    """With a venue that is slow a symbol begins with its newest candles."""
    faults = [fault("rest_429", 1), fault("rest_slow", 1), fault("rest_slow", 100, 30)]
    _, found = await begun(*faults, deadline_s=3)
    assert_equal(found, BARS.between(MINUTE - 300, MINUTE))


@pytest.mark.parametrize(
    ("faults", "reason"),
    [
        ((fault("rest_slow", 9, 30),), "no candles within 0.3 s"),
        ((fault("rest_429", 99, 30),), "no candles within 0.3 s"),
        ((fault("rest_empty", 99),), "the venue has no candles"),
    ],
    ids=["slow", "throttled", "empty"],
)
async def test_a_symbol_begins_cold_with_the_reason(faults: tuple[Fault, ...], reason: str) -> None:
    """No trade is lost when candles do not come, and health says why they did not."""
    feed, found = await begun(*faults, deadline_s=0.3)
    assert found is None
    check = feed.health.checks[f"warmup:{SYMBOL}"]
    assert (check.status, check.detail) == ("ok", f"begins cold: {reason}")
    assert feed.metric('volsvc_feed_symbols_warmed_total{outcome="cold"}') == 1


async def test_symbols_share_the_requests() -> None:
    """Of many symbols each has the newest candles, as many as the rate allows all of them."""
    # A page each, at a thousand requests a second.
    _, found = await begun(symbols=300, deadline_s=0.5, days=3)
    assert_equal(found, BARS.between(MINUTE - 300, MINUTE))


async def test_nothing_is_fetched_without_a_warm_up() -> None:
    """With source none a symbol begins with its first trade."""
    feed, found = await begun(source="none")
    assert found is None
    assert feed.metric("volsvc_feed_rest_requests_total") == 0
