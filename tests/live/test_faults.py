"""Tests of the effect of each fault on counters, gap events and quality."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from tests.applied import apply
from tests.live.feed import SYMBOL, Feed, exchange, listening, settings, trades
from volsvc.domain import NS, Quality, Tick
from volsvc.simulator import Fault

STEPS, PER_STEP = 30, 2
AT = 10
COUNTED = (
    "volsvc_feed_reconnects_total",
    "volsvc_feed_backfilled_trades_total",
    'volsvc_feed_messages_total{kind="duplicate"}',
    'volsvc_feed_messages_total{kind="error"}',
    'volsvc_feed_messages_total{kind="known_trade"}',
    'volsvc_feed_messages_total{kind="malformed"}',
    'volsvc_feed_messages_total{kind="reordered"}',
    'volsvc_feed_messages_total{kind="reset"}',
    'volsvc_feed_rest_requests_total{outcome="throttled"}',
    "volsvc_negative_delay_total",
)


class Case(NamedTuple):
    """A script and the resulting numbers; those that are not given are 0."""

    faults: tuple[Fault, ...]
    counters: Mapping[str, float] = MappingProxyType({})
    gaps: tuple[tuple[str, str, int], ...] = ()
    lost_trades: int = 0
    late: int = 0
    gaps_in_quality: int = 0
    in_snapshots: int = 0
    options: Mapping[str, Any] = MappingProxyType({})


def reconnects(reason: str, count: float = 1) -> dict[str, float]:
    return {
        "volsvc_feed_reconnects_total": count,
        f'volsvc_feed_reconnects_total{{reason="{reason}"}}': count,
    }


def messages(kind: str, count: float = 1) -> dict[str, float]:
    return {f'volsvc_feed_messages_total{{kind="{kind}"}}': count}


def backfilled(count: float) -> dict[str, float]:
    return {"volsvc_feed_backfilled_trades_total": count}


def at(kind: str, count: int = 1, seconds: float = 1.0) -> Fault:
    return Fault.model_validate({"kind": kind, "at": AT, "count": count, "seconds": seconds})


def sizes(gaps: Iterable[tuple[str, str, int]]) -> Counter[tuple[str, str]]:
    """Sum gaps by symbol and kind, because a heartbeat between lost messages makes two of one."""
    total: Counter[tuple[str, str]] = Counter()
    for symbol, kind, missing in gaps:
        total[symbol, kind] += missing
    return total


LOST = ("", "messages", 1)
ALL = {"snapshot_trades": 100}
CASES = {
    "none": Case(()),
    "skip": Case((at("skip", 3),), backfilled(6), (("", "messages", 3),)),
    "skip without back-fill": Case(
        (at("skip", 3),),
        {},
        (("", "messages", 3), (SYMBOL, "trades", 6)),
        lost_trades=6,
        gaps_in_quality=1,
        options={"backfill": False},
    ),
    "duplicate": Case((at("duplicate"),), messages("duplicate")),
    "reorder": Case((at("reorder"),), messages("reordered")),
    "malformed": Case((at("malformed"),), messages("malformed") | backfilled(2), (LOST,)),
    "error": Case((at("error"),), messages("error")),
    "sequence reset": Case((at("sequence_reset"),), messages("reset")),
    "snapshot": Case((at("snapshot"),), messages("known_trade", (AT - 1) * PER_STEP), options=ALL),
    "disconnect": Case((at("disconnect", 4),), reconnects("closed") | backfilled(8)),
    "half-open": Case((at("half_open", 4),), reconnects("heartbeat") | backfilled(8)),
    "stall": Case(
        (at("stall", 4),),
        reconnects("data") | backfilled(8),
        options={"data_timeout_s": 0.8},
    ),
    "drip": Case((at("drip", seconds=30),), reconnects("heartbeat") | backfilled(2)),
    "snapshot after reconnect": Case(
        (at("disconnect", 4),),
        # Of the ten newest trades eight were missed and two are known.
        reconnects("closed") | messages("known_trade", 2),
        in_snapshots=8,
        options={"snapshot_trades": 10},
    ),
    "refusal": Case(
        (at("disconnect", 4), at("refuse", 1)),
        reconnects("closed")
        | reconnects("refused")
        | messages("error")
        | backfilled(8)
        | {"volsvc_feed_reconnects_total": 2},
    ),
    "429": Case(
        (at("skip", 3), at("rest_429", 2, seconds=0)),
        backfilled(6) | {'volsvc_feed_rest_requests_total{outcome="throttled"}': 2},
        (("", "messages", 3),),
    ),
    "429 for too long": Case(
        (at("skip", 3), at("rest_429", 1, seconds=60)),
        {'volsvc_feed_rest_requests_total{outcome="throttled"}': 1},
        (("", "messages", 3), (SYMBOL, "trades", 6)),
        lost_trades=6,
        gaps_in_quality=1,
        options={"backfill_timeout_s": 0.3},
    ),
    # Four steps seem to be older than those before them: eight late trades, none of them missing.
    "clock behind": Case((at("clock_skew", 4, seconds=-2),), late=8),
    # The clock is decades ahead from step 10 on, but the trade ids go on.
    "clock ahead": Case(
        (at("clock_skew", 1_000, seconds=2e9),),
        {"volsvc_negative_delay_total": (STEPS - AT + 1) * PER_STEP},
    ),
}


def settled(feed: Feed) -> Quality:
    """Return the quality after ten more seconds, in which missing trades may come late."""
    state = feed.table.get(SYMBOL)
    assert state.row is not None, "the feed has had a tick"
    newest_id = max(number for number in feed.ids if number is not None)
    after_ns = max(row.tick.time_ns for row in feed.rows) + 11 * NS
    apply(feed.table, Tick(SYMBOL, after_ns, state.row.price, trade_id=newest_id + 1))
    return state.quality()


@pytest.mark.usefixtures("loop_clock")
@pytest.mark.parametrize("name", CASES)
async def test_every_fault(name: str) -> None:
    """A fault changes the expected numbers and no others, and no other trade is lost."""
    case = CASES[name]
    options = {"snapshot_trades": 0, **case.options}
    ticks = trades(STEPS, PER_STEP)
    script = {"snapshot_trades": options.pop("snapshot_trades")}
    async with (
        exchange(ticks, *case.faults, **script) as simulator,
        listening(settings(simulator, **options)) as feed,
    ):
        expected = STEPS * PER_STEP - case.lost_trades
        await feed.until(lambda: len(feed.rows) >= expected, f"{expected} trades")
        # A message counts as lost only after a few more have arrived.
        await feed.until(lambda: sizes(feed.gaps) == sizes(case.gaps), f"{case.gaps}")
        counters = {**dict.fromkeys(COUNTED, 0.0), **case.counters}
        assert {counter: feed.metric(counter) for counter in counters} == counters
        assert feed.ids == [tick.trade_id for tick in ticks if tick.trade_id in set(feed.ids)]
        quality = settled(feed)
        assert (quality.gaps, quality.duplicates, quality.late) == (
            case.gaps_in_quality,
            0,
            case.late,
        )
        assert feed.metric("volsvc_feed_connected") == 1
        older = feed.metric("volsvc_feed_backfilled_trades_total") + case.in_snapshots
        assert feed.metric("volsvc_tick_delay_seconds_count") == len(feed.rows) - older
        assert feed.health.status == "ok"
        assert feed.health.silent == set()
