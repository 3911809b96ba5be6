"""Records applied to states: what changes, what is counted, and where a slice ends."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.unit.pipeline.logged import START_NS, record, records, tick
from tests.unit.pipeline.slices import PUBLISHED_MS, Applying, on_grid
from volsvc.domain import NS
from volsvc.domain.minute_bars import BarSeries, PastBars
from volsvc.features.kernels.points import GRID, MINUTE
from volsvc.transport import OutRecord, Record
from volsvc.transport.bars_record import encode_bars


def test_an_empty_batch_is_an_empty_slice() -> None:
    """Without records there is one slice, in which nothing is due."""
    found = Applying().one([])
    assert found.applied is None
    assert (len(found.updated), found.accepted, found.rejected) == (0, {}, {})
    assert (found.dead_letters, found.faults, found.next_offsets) == ([], {}, {})


def test_slices_divide_a_batch() -> None:
    """Each slice ends with the record that fills it, and knows the offset after those decoded."""
    applied = Applying(publish_every_s=60)
    slices = applied.slices(records([tick(n / 100) for n in range(600)], first=1_000))
    assert [one.accepted["other"] for one in slices] == [256, 256, 88]
    assert [one.next_offsets for one in slices] == [{0: 1_256}, {0: 1_512}, {0: 1_600}]
    symbols = [f"S{n:02}" for n in range(45)]
    slices = applied.slices(records([tick(5, symbol) for symbol in symbols], 1))
    # Each new symbol is due on the publishing grid. A tick may end a minute and have a point on the
    # grid, and so may one that was held for its price, so the room of four is left of 32.
    assert [applied.symbols(one) for one in slices] == [symbols[:29], symbols[29:]]
    assert [one.next_offsets for one in slices] == [{1: 45}, {}]
    assert applied.metric("symbols") == 46


@pytest.mark.parametrize("count", [255, 256, 257, 512])
def test_the_last_slice_of_a_batch(count: int) -> None:
    """No slice is empty that comes after a full one."""
    slices = Applying(publish_every_s=60).slices(records([tick(n / 100) for n in range(count)]))
    assert [one.accepted["other"] for one in slices] == [
        min(256, count - first) for first in range(0, count, 256)
    ]


@given(st.lists(st.tuples(st.sampled_from("AB"), st.integers(0, 1), st.integers(0, 9))))
def test_redelivered_records_change_nothing(places: list[tuple[str, int, int]]) -> None:
    """A record whose offset its state holds is skipped, unless the symbol has moved partition."""
    applied, held = Applying(), dict[str, tuple[int, int]]()
    accepted = 0
    for symbol, partition, offset in places:
        news = symbol not in held or held[symbol][0] != partition or offset > held[symbol][1]
        accepted += news
        if news:
            held[symbol] = partition, offset
        one = record(offset, tick(accepted, symbol), partition)
        found = applied.one([one])
        assert applied.symbols(found) == [symbol] * news
        assert found.accepted == ({"other": 1} if news else {})
        assert found.next_offsets == {partition: offset + 1}
        assert applied.applier.take_dirty() == ({symbol} if news else set())
    places_held = {state.symbol: (state.partition, state.offset) for state in applied.table}
    assert places_held == held


def test_points_are_due_in_the_order_of_event_time() -> None:
    """At the first tick of a new minute that minute closes, and then the grid's point is due."""
    applied = Applying(publish_every_s=10)
    ticks = [tick(seconds) for seconds in (0, 1, 10, 70, 190, 191)]
    found = applied.one(records(ticks, first=5))
    assert found.applied is not None
    points, places = found.applied.points, on_grid(found.applied)
    assert points["kind"].tolist() == [GRID] * 2 + [MINUTE, GRID] * 2
    # Copied at its own tick, though later ones have changed the state since.
    copies = found.applied.copies[places]
    assert copies["offset"].tolist() == [5, 7, 8, 9]
    assert copies["check"]["accepted"].tolist() == [1, 3, 4, 5]
    times = [ticks[place].time_ns for place in (0, 2, 3, 4)]
    assert points["row"]["time_ns"][places].tolist() == times
    assert points["at_ns"][places].tolist() == times
    assert points["tick"].tolist() == [0, 2, 3, 3, 4, 4]
    minutes = points[points["kind"] == MINUTE]
    start = START_NS // (60 * NS)
    assert minutes["bar"]["minute"].tolist() == [start, start + 1]
    assert applied.symbols(found) == ["A"]


def test_what_is_counted() -> None:
    """Accepted ticks count by source, others by reason, and those of a symbol by symbol as well."""
    applied = Applying(future_tolerance_s=60)
    new = [tick(10, trade_id=1, source="csv"), tick(11, trade_id=2, source="mine")]
    late, duplicate = tick(9, trade_id=3), new[1]
    future = record(4, tick(200, trade_id=4), timestamp_ms=PUBLISHED_MS)
    batch = [*records([*new, late, duplicate]), future, record(5, b"{"), record(6, b"[")]
    found = applied.one(batch)
    assert found.accepted == {"csv": 1, "other": 1}
    assert found.rejected == {"late": 1, "duplicate": 1, "future": 1, "json": 2}
    for source in ("csv", "other"):
        assert applied.metric("ticks_total", source=source) == 1
    for reason, count in found.rejected.items():
        assert applied.metric("ticks_rejected_total", reason=reason) == count
    for kind in ("late", "duplicates", "future"):
        assert applied.metric(f"feed_{kind}_total", symbol="A") == 1
    assert applied.metric("feed_last_event_timestamp_seconds", symbol="A") == START_NS / NS + 11
    assert applied.metric("symbols") == 1
    # A rejected tick changes the state too: its counts, and the offset up to which it is.
    assert applied.table.get("A").offset == 4
    assert applied.applier.take_dirty() == {"A"}


def test_counts_add_up_over_slices() -> None:
    """Each slice is counted once."""
    applied = Applying(publish_every_s=60)
    ticks = [tick(n / 100, source="csv") for n in range(400)]
    assert len(applied.slices(records([*ticks, ticks[-1], ticks[-1]]))) == 2
    assert applied.metric("ticks_total", source="csv") == 400
    assert applied.metric("ticks_rejected_total", reason="duplicate") == 2


def test_dead_letters() -> None:
    """Records without a valid tick, and ticks of the future, are set aside with their reason."""
    applied = Applying(symbols=("A",), future_tolerance_s=60)
    unknown = tick(0, "B")
    batch = [
        record(7, tick(100), timestamp_ms=PUBLISHED_MS),
        record(8, tick(60), timestamp_ms=PUBLISHED_MS),
        record(9, b'{"type": "heartbeat"}'),
        record(10, unknown, 1),
    ]
    found = applied.one(batch)
    assert found.accepted == {"other": 1}
    # A time is judged when its tick is applied, after the decoding of the records of a slice.
    headers = [dict(letter.headers) for letter in found.dead_letters]
    assert [(header["volsvc-origin"], header["volsvc-reason"]) for header in headers] == [
        (b"ticks.raw/0/9", b"not_a_tick"),
        (b"ticks.raw/1/10", b"unknown_symbol"),
        (b"ticks.raw/0/7", b"future"),
    ]
    late = b"'time': 2026-01-05T00:01:40.000Z is after its publication"
    assert late in headers[2]["volsvc-error"]
    assert [letter.value for letter in found.dead_letters] == [
        batch[place].value for place in (2, 3, 0)
    ]
    assert all(isinstance(letter, OutRecord) for letter in found.dead_letters)
    for reason in ("future", "not_a_tick", "unknown_symbol"):
        assert applied.metric("dlq_records_total", reason=reason) == 1
        assert applied.metric("ticks_rejected_total", reason=reason) == 1
    assert found.next_offsets == {0: 10, 1: 11}


def test_the_log_has_each_dead_letter() -> None:
    """A line for the one who looks for them has its place, its reason and the error."""
    applied = Applying()
    with capture_logs() as logs:
        batch = [record(7, tick(0)), record(8, b"{"), record(9, b'{"type": "beat"}', 1)]
        letters = applied.one(batch).dead_letters
    headers = [dict(letter.headers) for letter in letters]
    line = {"event": "dead_letter", "log_level": "debug", "topic": "ticks.raw"}
    places = [{"partition": 0, "offset": 8}, {"partition": 1, "offset": 9}]
    assert logs == [
        {
            **line,
            **place,
            "reason": header["volsvc-reason"].decode(),
            "error": header["volsvc-error"].decode(),
        }
        for place, header in zip(places, headers, strict=True)
    ]
    assert [one["reason"] for one in logs] == ["json", "not_a_tick"]
    assert "is not JSON" in logs[0]["error"]


def test_a_gap_is_counted_and_told() -> None:
    """A silence of more than a minute is a gap of the symbol, which the streams hear of."""
    applied = Applying()
    applied.slices(records([tick(0), tick(60), tick(121), tick(300, "B"), tick(182)]))
    assert applied.metric("feed_gaps_total", symbol="A") == 2
    assert applied.metric("feed_gaps_total", symbol="B") is None
    times = ("2026-01-05T00:02:01.000Z", "2026-01-05T00:03:02.000Z")
    assert applied.events == [
        ("gap", "A", {"symbol": "A", "at": at, "gaps": number})
        for number, at in enumerate(times, 1)
    ]


def test_a_gap_before_a_late_trade_is_counted_and_told() -> None:
    """A late trade shows by its id that others are missing; they have ten seconds to come."""
    applied = Applying()
    ticks = [tick(9, trade_id=1), tick(1, trade_id=5), tick(19, trade_id=6)]
    found = applied.one(records(ticks))
    assert (found.rejected, sum(found.accepted.values())) == ({"late": 1}, 2)
    assert (applied.events, applied.metric("feed_gaps_total", symbol="A")) == ([], None)
    applied.one(records([tick(19.1, trade_id=7)], first=3))
    assert applied.metric("feed_gaps_total", symbol="A") == 1
    news = {"symbol": "A", "at": "2026-01-05T00:00:09.000Z", "gaps": 1}
    assert applied.events == [("gap", "A", news)]


def test_holes_that_end_at_one_tick_are_all_counted() -> None:
    """One event tells of them, with the time of the newest and the number of all."""
    applied = Applying()
    applied.one(records([tick(n, trade_id=2 * n + 1) for n in range(4)]))
    assert applied.events == []
    applied.one(records([tick(50, trade_id=8)], first=4))
    assert applied.metric("feed_gaps_total", symbol="A") == 3
    news = {"symbol": "A", "at": "2026-01-05T00:00:03.000Z", "gaps": 3}
    assert applied.events == [("gap", "A", news)]


def test_old_symbols_make_room_for_new_ones() -> None:
    """In a full table a symbol without a tick for long is dropped, a recent one is not."""
    applied = Applying(max_symbols=1, symbol_ttl_s=1)
    slices, symbols = [], []
    ticks = [tick(0, "A"), tick(1, "B"), tick(1.5, "B"), tick(2, "B")]
    for one in applied.applier.slices(records(ticks)):
        slices.append(one)
        symbols.append(applied.symbols(one))
    # The tick of the old one is applied before its place is taken.
    assert (symbols[0], {*map(tuple, symbols[1:])}) == (["A"], {("B",)})
    assert sum((one.rejected for one in slices), Counter()) == {"max_symbols": 1}
    assert sum((one.accepted for one in slices), Counter()) == {"other": 3}
    assert [state.symbol for state in applied.table] == ["B"]


def test_a_symbol_with_rejected_ticks_only_has_no_time() -> None:
    """A series of event times begins with the first accepted tick."""
    applied = Applying(future_tolerance_s=1)
    applied.one([record(0, tick(100), timestamp_ms=PUBLISHED_MS)])
    assert applied.metric("feed_last_event_timestamp_seconds", symbol="A") is None
    assert applied.applier.take_dirty() == {"A"}


def test_lost_records_are_a_gap_of_every_symbol_there() -> None:
    """The loss counts once, when the next records are applied, in that partition alone."""
    applied = Applying()
    applied.one([record(0, tick(0, "A")), record(1, tick(0, "B")), record(0, tick(0, "C"), 1)])
    applied.one([record(3, tick(100, "B"))])
    applied.applier.take_dirty()
    applied.applier.note_loss(0)
    applied.applier.note_loss(0)
    assert [applied.table.get(symbol).quality().gaps for symbol in "AB"] == [0, 1]
    for _ in range(2):
        applied.one([])
        gaps = {state.symbol: state.quality().gaps for state in applied.table}
        assert gaps == {"A": 1, "B": 2, "C": 0}
    assert applied.metric("feed_gaps_total", symbol="A") == 1
    assert applied.metric("feed_gaps_total", symbol="C") is None
    assert applied.applier.take_dirty() == {"A", "B"}
    assert applied.applier.take_dirty() == set()


def test_a_state_may_be_published_again() -> None:
    """A state that is marked is among those to publish."""
    applied = Applying()
    applied.one([record(0, tick(0))])
    applied.applier.take_dirty()
    applied.applier.mark_dirty("A")
    assert applied.applier.take_dirty() == {"A"}


def test_bars_are_a_slice_of_their_own() -> None:
    """Ticks before and after them are applied in order, and bad bars are a dead letter."""
    bars = BarSeries(np.array([START_NS // (60 * NS) - 1]), np.array([[1.0, 2.0, 0.5, 1.0, 3.0]]))
    (past,) = encode_bars(PastBars("NEW", "file", bars), ())
    wrong = past._replace(value=b"{}")
    plain = [one[:3] for one in (past, wrong)]
    batch = [
        *records([tick(0)]),
        *(Record("ticks", 0, 1 + place, *one) for place, one in enumerate(plain)),
        *records([tick(1, "NEW")], first=3),
    ]
    applied = Applying()
    slices = applied.slices(batch)
    assert [one.next_offsets for one in slices] == [{0: 1}, {0: 2}, {0: 3}, {0: 4}]
    assert [None if one.past is None else len(one.past) for one in slices] == [None, 1, None, None]
    assert [applied.symbols(one) for one in slices] == [["A"], [], [], ["NEW"]]
    assert [dict(one.rejected) for one in slices] == [{}, {}, {"bars": 1}, {}]
    assert applied.applier.take_dirty() == {"A", "NEW"}
    # Redelivered, they change nothing.
    assert all(one.past is None or not len(one.past) for one in applied.slices(batch))
