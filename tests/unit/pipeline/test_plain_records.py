"""Ticks of a poll that are read at once, held against the same ones decoded one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from volsvc.config.settings import FeatureSettings
from volsvc.domain import NS, Tick
from volsvc.features import SymbolTable
from volsvc.pipeline.latest_store import LatestStore
from volsvc.pipeline.tick_applier import TickApplier
from volsvc.telemetry.metrics import Metrics
from volsvc.transport import Record
from volsvc.transport.codec import encode_tick

START_NS = 1_767_571_200 * NS

ticks = st.builds(
    lambda symbol, second, price, **more: Tick(
        symbol, START_NS + second * NS, price, source="csv", **more
    ),
    st.sampled_from(["A", "B", "C", "D-USD", "E"]),
    st.integers(0, 40),
    st.sampled_from([100.0, 100.1, 99.9, 500.0]),
    best_bid=st.none() | st.just(99.5),
    best_ask=st.none() | st.just(100.5),
    size=st.none() | st.just(0.5),
    trade_id=st.none() | st.integers(1, 30),
)
values = ticks.map(lambda tick: (tick.symbol.encode(), encode_tick(tick).value or b""))
faults = st.sampled_from([(b"A", b"{"), (b"A", b"[1]"), (b"A", b'{"type":"beat"}')])
polls = st.lists(st.lists(st.tuples(values | values | faults, st.integers(0, 1)), max_size=12))
# Keys and values with their partitions.
Poll = list[tuple[tuple[bytes, bytes], int]]


def as_written(value: bytes) -> bytes:
    return value


def with_a_blank(value: bytes) -> bytes:
    """The same JSON, though not as we write it."""
    return value.replace(b",", b", ", 1)


def records_of(sent: list[Poll], form: Callable[[bytes], bytes]) -> list[list[Record]]:
    polls: list[list[Record]] = []
    offset = 0
    for poll in sent:
        polls.append([])
        for (key, value), partition in poll:
            stamp_ms = START_NS // 1_000_000 + 20_000
            record = Record("ticks", partition, offset, key, form(value), (), stamp_ms)
            polls[-1].append(record)
            # Some are delivered again.
            offset += offset % 5 != 3 or len(poll) % 2
    return polls


def outcome(sent: list[Poll], form: Callable[[bytes], bytes], **features: Any) -> list[Any]:
    """The states after all records, and everything that slices tell."""
    settings = FeatureSettings(future_tolerance_s=15, publish_every_s=10, **features)
    dropped: list[str] = []
    table = SymbolTable(settings, dropped.append)
    applier = TickApplier(table, LatestStore(), Metrics())
    told: list[Any] = [dropped]
    for number, poll in enumerate(records_of(sent, form)):
        for one in applier.slices(poll):
            letters = [letter.headers for letter in one.dead_letters]
            points = b"" if one.applied is None else one.applied.points.tobytes()
            counts = (one.rejected, one.faults, one.accepted, one.next_offsets)
            told.append((letters, points, one.updated.tolist(), *counts))
        told.append(applier.take_dirty())
        if number % 3 == 2:
            table.drop("A")
    states = {state.symbol: table.stored(table.row(state.symbol)) for state in table}
    return [*told, states]


@given(polls, st.sampled_from([2, 3, 100]), st.sampled_from([0, 5]))
def test_ticks_have_the_same_effects_in_both_forms(
    sent: list[Poll], max_symbols: int, late_tolerance_s: int
) -> None:
    """Plain records and others give the same slices and states, as symbols come and go."""
    limits = {"max_symbols": max_symbols, "symbol_ttl_s": 5, "late_tolerance_s": late_tolerance_s}
    plain = outcome(sent, as_written, **limits)
    assert plain == outcome(sent, with_a_blank, **limits)
