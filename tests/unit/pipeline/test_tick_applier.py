"""Records applied to states: what changes, what is counted, and where a slice ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.unit.pipeline.logged import START_NS, record, records, tick
from volsvc.config.settings import FeatureSettings
from volsvc.domain import NS
from volsvc.features import SymbolTable
from volsvc.models import ForecastPoint, MinuteClose
from volsvc.pipeline.forecaster import DuePoint
from volsvc.pipeline.latest_store import LatestStore
from volsvc.pipeline.tick_applier import TickApplier, TickSlice
from volsvc.telemetry.metrics import Metrics
from volsvc.transport import OutRecord, Record

PUBLISHED_MS = START_NS // 1_000_000


class Applied:
    """An applier with an empty table, and all that it reports."""

    def __init__(self, **settings: Any) -> None:
        self.metrics = Metrics()
        self.table = SymbolTable(FeatureSettings(**settings))
        self.events: list[tuple[str, str, Any]] = []
        store = LatestStore(lambda kind, symbol, news: self.events.append((kind, symbol, news)))
        self.applier = TickApplier(self.table, store, self.metrics)

    def slices(self, batch: Sequence[Record]) -> list[TickSlice]:
        """Apply a batch."""
        return list(self.applier.slices(batch))

    def one(self, batch: Sequence[Record]) -> TickSlice:
        """Apply a batch that makes one slice."""
        (found,) = self.slices(batch)
        return found

    def metric(self, name: str, **labels: str) -> float | None:
        """Return the value of a series."""
        return self.metrics.registry.get_sample_value(f"volsvc_{name}", labels)


def test_an_empty_batch_is_an_empty_slice() -> None:
    """Without records there is one slice, in which nothing is due."""
    assert Applied().one([]) == TickSlice()


@pytest.mark.parametrize(
    ("less", "enough"),
    [
        ({"records": 127}, {"records": 128}),
        ({"updated": 39}, {"updated": 40}),
        ({"due": 7}, {"due": 8}),
    ],
)
def test_bounds_of_a_slice(less: dict[str, int], enough: dict[str, int]) -> None:
    """A slice is full with any one of its kinds of work."""
    state = SymbolTable(FeatureSettings()).state_for("A", 0)

    def filled(records: int = 0, updated: int = 0, due: int = 0) -> TickSlice:
        points: list[Any] = [None] * due
        return TickSlice(records, points, updated={str(n): state for n in range(updated)})

    assert not filled(**less).full
    assert filled(**enough).full


def test_slices_divide_a_batch() -> None:
    """Each slice ends with the record that fills it, and knows the offset after that."""
    applied = Applied(publish_every_s=60)
    slices = applied.slices(records([tick(n / 100) for n in range(300)], first=1_000))
    assert [one.records for one in slices] == [128, 128, 44]
    assert [one.next_offsets for one in slices] == [{0: 1_128}, {0: 1_256}, {0: 1_300}]
    symbols = [f"S{n:02}" for n in range(45)]
    slices = applied.slices(records([tick(5, symbol) for symbol in symbols], 1))
    # Each new symbol is due on the publishing grid, which fills a slice sooner.
    assert [list(one.updated) for one in slices] == [symbols[n : n + 8] for n in range(0, 45, 8)]
    assert applied.metric("symbols") == 46


@given(st.lists(st.tuples(st.sampled_from("AB"), st.integers(0, 1), st.integers(0, 9))))
def test_redelivered_records_change_nothing(places: list[tuple[str, int, int]]) -> None:
    """A record whose offset its state holds is skipped, unless the symbol has moved partition."""
    applied, held = Applied(), dict[str, tuple[int, int]]()
    accepted = 0
    for symbol, partition, offset in places:
        news = symbol not in held or held[symbol][0] != partition or offset > held[symbol][1]
        accepted += news
        if news:
            held[symbol] = partition, offset
        one = record(offset, tick(accepted, symbol), partition)
        found = applied.one([one])
        assert list(found.updated) == [symbol] * news
        assert found.accepted == ({"": 1} if news else {})
        assert (found.records, found.next_offsets) == (1, {partition: offset + 1})
        assert set(applied.applier.take_dirty()) == ({symbol} if news else set())
    places_held = {state.symbol: (state.partition, state.offset) for state in applied.table}
    assert places_held == held


def test_points_are_due_in_the_order_of_event_time() -> None:
    """At the first tick of a new minute that minute closes, and then the grid's point is due."""
    applied = Applied(publish_every_s=10)
    ticks = [tick(seconds) for seconds in (0, 1, 10, 70, 190, 191)]
    found = applied.one(records(ticks, first=5))
    kinds = [type(due.point) for due in found.due]
    assert kinds == [ForecastPoint] * 2 + [MinuteClose, ForecastPoint] * 2
    points = [due for due in found.due if due.on_grid]
    # Dumped at its own tick, though later ones have changed the state since.
    dumped = [due.state["offset"] for due in points if due.state is not None]
    assert dumped == [5, 7, 8, 9]
    rows = [due.point.row for due in points if isinstance(due.point, ForecastPoint)]
    times = [row.time_ns for row in rows if row is not None]
    assert times == [ticks[place].time_ns for place in (0, 2, 3, 4)]
    closes = [due for due in found.due if isinstance(due.point, MinuteClose)]
    assert closes == [DuePoint(due.point, None, on_grid=False) for due in closes]
    assert found.updated["A"] is applied.table.get("A")


def test_what_is_counted() -> None:
    """Accepted ticks count by source, others by reason, and those of a symbol by symbol as well."""
    applied = Applied(future_tolerance_s=60)
    new = [tick(10, trade_id=1, source="csv"), tick(11, trade_id=2, source="mine")]
    late, duplicate = tick(9, trade_id=3), new[1]
    future = record(4, tick(200, trade_id=4), timestamp_ms=PUBLISHED_MS)
    batch = [*records([*new, late, duplicate]), future, record(5, b"{"), record(6, b"[")]
    found = applied.one(batch)
    assert found.accepted == {"csv": 1, "mine": 1}
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
    assert set(applied.applier.take_dirty()) == {"A"}


def test_counts_add_up_over_slices() -> None:
    """Each slice is counted once."""
    applied = Applied(publish_every_s=60)
    ticks = [tick(n / 100, source="csv") for n in range(200)]
    assert len(applied.slices(records([*ticks, ticks[-1], ticks[-1]]))) == 2
    assert applied.metric("ticks_total", source="csv") == 200
    assert applied.metric("ticks_rejected_total", reason="duplicate") == 2


def test_dead_letters() -> None:
    """Records without a valid tick, and ticks of the future, are set aside with their reason."""
    applied = Applied(symbols=("A",), future_tolerance_s=60)
    unknown = tick(0, "B")
    batch = [
        record(7, tick(100), timestamp_ms=PUBLISHED_MS),
        record(8, tick(60), timestamp_ms=PUBLISHED_MS),
        record(9, b'{"type": "heartbeat"}'),
        record(10, unknown, 1),
    ]
    found = applied.one(batch)
    assert found.accepted == {"": 1}
    headers = [dict(letter.headers) for letter in found.dead_letters]
    assert [header["volsvc-reason"] for header in headers] == [
        b"future",
        b"not_a_tick",
        b"unknown_symbol",
    ]
    assert [header["volsvc-origin"] for header in headers] == [
        b"ticks.raw/0/7",
        b"ticks.raw/0/9",
        b"ticks.raw/1/10",
    ]
    late = b"'time': 2026-01-05T00:01:40.000Z is after its publication"
    assert late in headers[0]["volsvc-error"]
    assert [letter.value for letter in found.dead_letters] == [
        batch[place].value for place in (0, 2, 3)
    ]
    assert all(isinstance(letter, OutRecord) for letter in found.dead_letters)
    for reason in ("future", "not_a_tick", "unknown_symbol"):
        assert applied.metric("dlq_records_total", reason=reason) == 1
        assert applied.metric("ticks_rejected_total", reason=reason) == 1
    assert found.next_offsets == {0: 10, 1: 11}


def test_the_log_has_each_dead_letter() -> None:
    """A line for the one who looks for them has its place, its reason and the error."""
    applied = Applied()
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
    applied = Applied()
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
    applied = Applied()
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
    applied = Applied()
    applied.one(records([tick(n, trade_id=2 * n + 1) for n in range(4)]))
    assert applied.events == []
    applied.one(records([tick(50, trade_id=8)], first=4))
    assert applied.metric("feed_gaps_total", symbol="A") == 3
    news = {"symbol": "A", "at": "2026-01-05T00:00:03.000Z", "gaps": 3}
    assert applied.events == [("gap", "A", news)]


def test_old_symbols_make_room_for_new_ones() -> None:
    """In a full table a symbol without a tick for long is dropped, a recent one is not."""
    applied = Applied(max_symbols=1, symbol_ttl_s=1)
    found = applied.one(records([tick(0, "A"), tick(1, "B"), tick(1.5, "B")]))
    assert found.rejected == {"max_symbols": 1}
    assert [state.symbol for state in applied.table] == ["B"]


def test_a_symbol_with_rejected_ticks_only_has_no_time() -> None:
    """A series of event times begins with the first accepted tick."""
    applied = Applied(future_tolerance_s=1)
    applied.one([record(0, tick(100), timestamp_ms=PUBLISHED_MS)])
    assert applied.metric("feed_last_event_timestamp_seconds", symbol="A") is None
    assert set(applied.applier.take_dirty()) == {"A"}


def test_lost_records_are_a_gap_of_every_symbol_there() -> None:
    """The loss counts once, when the next records are applied, in that partition alone."""
    applied = Applied()
    applied.one([record(0, tick(0, "A")), record(1, tick(0, "B")), record(0, tick(0, "C"), 1)])
    applied.one([record(3, tick(100, "B"))])
    applied.applier.take_dirty()
    applied.applier.note_loss(0)
    applied.applier.note_loss(0)
    assert [applied.table.get(symbol).validator.gaps for symbol in "AB"] == [0, 1]
    for _ in range(2):
        applied.one([])
        gaps = {state.symbol: state.validator.gaps for state in applied.table}
        assert gaps == {"A": 1, "B": 2, "C": 0}
    assert applied.metric("feed_gaps_total", symbol="A") == 1
    assert applied.metric("feed_gaps_total", symbol="C") is None
    states = {symbol: applied.table.get(symbol) for symbol in "AB"}
    assert applied.applier.take_dirty() == states
    assert applied.applier.take_dirty() == {}


def test_a_state_may_be_published_again() -> None:
    """A state that is marked is among those to publish."""
    applied = Applied()
    applied.one([record(0, tick(0))])
    applied.applier.take_dirty()
    state = applied.table.get("A")
    applied.applier.mark_dirty(state)
    assert applied.applier.take_dirty() == {"A": state}


def test_a_bad_print_is_held_and_then_counted() -> None:
    """While it is held its state is to be published; once left out, it is a rejected tick."""
    applied = Applied()
    applied.one(records([tick(0), tick(1)]))
    applied.applier.take_dirty()
    held = applied.one(records([tick(2, price=500.0, source="csv")], first=2))
    assert (held.accepted, held.rejected, held.due) == ({}, {}, [])
    (dirty,) = applied.applier.take_dirty().values()
    assert (dirty.offset, dirty.quality().bad_prints) == (2, 0)
    found = applied.one(records([tick(3)], first=3))
    assert (found.accepted, found.rejected) == ({"": 1}, {"bad_print": 1})
    assert applied.metric("feed_bad_prints_total", symbol="A") == 1
    assert applied.metric("ticks_rejected_total", reason="bad_print") == 1
    assert applied.table.get("A").quality().bad_prints == 1
    applied.metrics.ticks.forget("A")
    assert applied.metric("feed_bad_prints_total", symbol="A") is None


def test_ticks_within_the_tolerance_are_points_in_the_order_of_their_times() -> None:
    """A slice may end between two ticks that one record has given their turn."""
    applied = Applied(late_tolerance_s=100, publish_every_s=1)
    order = [*range(19, -1, -1)]
    waiting = applied.one(records([tick(at) for at in order]))
    assert (waiting.accepted, waiting.due) == ({}, [])
    assert set(applied.applier.take_dirty()) == {"A"}
    slices = applied.slices(records([tick(119)], first=20))
    assert [len(one.due) for one in slices] == [8, 8, 4, 0][: len(slices)]
    points = [due.point for one in slices for due in one.due if due.state is not None]
    rows = [point.row for point in points if isinstance(point, ForecastPoint)]
    seconds = [(row.time_ns - START_NS) // NS for row in rows if row is not None]
    assert seconds == sorted(order)
    # Each dump has what comes after it, so that it is a whole state of the same offset.
    states = [due.state for one in slices for due in one.due if due.state is not None]
    assert [len(one.get("waiting", ())) for one in states] == [*range(19, -1, -1)]
    assert {one["offset"] for one in states} == {20}


def test_ticks_that_are_applied_early_are_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line tells of them, with the symbol and the limit."""
    monkeypatch.setattr("volsvc.features.tick_order.MAX_WAITING", 2)
    applied = Applied(late_tolerance_s=100)
    with capture_logs() as logs:
        found = applied.one(records([tick(at) for at in range(5)]))
    assert found.accepted == {"": 3}
    assert [(one["event"], one["symbol"], one["count"]) for one in logs] == [
        ("ticks_applied_early", "A", 1)
    ]


def test_a_true_jump_gives_a_point_for_both_ticks() -> None:
    """The tick that confirms it is the second of the record that brings it."""
    applied = Applied()
    applied.one(records([tick(0)]))
    before = [tick(1, source="csv"), tick(2, price=500.0, source="csv")]
    assert applied.one(records(before, first=1)).accepted == {"csv": 1}
    found = applied.one(records([tick(3, price=501.0, source="mine")], first=3))
    assert (found.accepted, found.rejected) == ({"csv": 1, "mine": 1}, {})
    rows = [due.point.row for due in found.due if isinstance(due.point, ForecastPoint)]
    assert [row.price for row in rows if row is not None] == [500.0, 501.0]
    # The dump of the first has the second as a tick that is still to be applied.
    states = [due.state for due in found.due if due.state is not None]
    assert [len(dumped.get("waiting", ())) for dumped in states] == [1, 0]
    assert [dumped["offset"] for dumped in states] == [3, 3]


def test_what_a_restored_state_has_yet_to_apply_is_applied_at_the_next_delivery() -> None:
    """A crash between two ticks of one record loses neither: its redelivery applies the rest."""
    applied = Applied()
    sent = records([tick(1), tick(2, price=500.0), tick(3, price=501.0)])
    states = [due.state for due in applied.one(sent).due if due.state is not None]
    again = Applied()
    again.table.restore("A", states[1], START_NS)
    found = again.one(sent)
    assert found.accepted == {"": 1}
    assert again.table.get("A").row == applied.table.get("A").row
    assert set(again.applier.take_dirty()) == {"A"}
