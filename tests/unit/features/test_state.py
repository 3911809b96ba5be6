"""The state of a symbol: updates, and what is stored of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.features.laws import Calibrated
from tests.unit.features.one_symbol import OneSymbol
from tests.unit.features.records import copied
from tests.unit.features.scales import Scales
from tests.unit.features.test_forecast_history import forecast, outcome
from tests.unit.features.ticks import START_NS, tick
from volsvc.domain import NS, FeatureRow, Tick
from volsvc.domain.tick_columns import columns_of_ticks
from volsvc.features import MINUTE_NS, SLICE_TICKS, Buffers, DigestChain, StateError
from volsvc.features.kernels import minutes
from volsvc.features.kernels.minutes import BAR
from volsvc.features.kernels.points import GRID, MINUTE, SCALES_FROM
from volsvc.features.state import quality_of
from volsvc.features.stored_state import StoredState, pack
from volsvc.features.tick_batch import tick_batch
from volsvc.scoring import scores

moves = st.lists(
    st.tuples(
        st.sampled_from([0.0, 1e-9, 0.2, 1.0, 5.0, 7.5, 61.0, -0.5]),
        st.sampled_from([100.0, 100.01, 100.02, 99.0, 1e6]),
        st.none() | st.integers(1, 40),
    ),
    max_size=60,
)


def ticks_of(steps: Sequence[tuple[float, float, int | None]]) -> list[Tick]:
    at, ticks = 0.0, []
    for step, price, trade_id in steps:
        at = max(0.0, at + step)
        ticks.append(tick(at, price, trade_id=trade_id))
    return ticks


def small(**settings: Any) -> OneSymbol:
    return OneSymbol(window_size=5, **settings)


@given(moves, st.integers(0, 60))
def test_a_restored_state_continues_exactly(
    steps: list[tuple[float, float, int | None]], cut: int
) -> None:
    """A restored state gives the same rows, points and counts as the original."""
    ticks = ticks_of(steps)
    whole, first = small(), small()
    for item in ticks[:cut]:
        assert repr(whole.apply_one(item)) == repr(first.apply_one(item))
    second = first.restored()
    assert second.row == whole.row
    assert second.scales == whole.scales
    for item in ticks[cut:]:
        assert repr(second.apply_one(item)) == repr(whole.apply_one(item))
    assert second.quality == whole.quality
    assert second.stored() == whole.stored()


@given(moves)
def test_repeated_and_late_ticks_change_nothing(
    steps: list[tuple[float, float, int | None]],
) -> None:
    """A stream with every tick delivered twice gives the rows of the original stream."""
    clean, doubled = small(), small()
    for item in ticks_of(steps):
        applied = clean.apply_one(item)
        assert doubled.apply_one(item)[:2] == applied[:2]
        again = doubled.apply_one(item)
        # A late tick without an id is late again, since it was not remembered.
        assert again.status == ("late" if applied.status == "late" else "duplicate")
        assert (again.rows, again.points) == ([], [])
        assert doubled.row == clean.row
        assert doubled.scales == clean.scales


def unpacked(one: OneSymbol) -> StoredState:
    return msgspec.msgpack.decode(one.stored(), type=StoredState)


def test_a_state_that_does_not_fit_is_refused() -> None:
    """A state of another layout or window size raises StateError, and so does none at all."""
    one = small()
    one.apply(tick(0))
    for change, detail in (
        ({"schema": "abc"}, "layout abc is not [0-9a-f]{16}$"),
        ({"window_size": 6}, "window of 6 is not 5"),
        ({"ticks": one.stored()[:99]}, "is no state"),
        ({"learnt": b""}, "is no state"),
        ({"prices": b"1234567"}, "is no state"),
        ({"daily": bytes(16)}, "is no state"),
        ({"outside": bytes(9)}, "is no state"),
    ):
        with pytest.raises(StateError, match=detail):
            OneSymbol(pack(msgspec.structs.replace(unpacked(one), **change)), window_size=5)
    for content in (b"", b"{}", one.stored()[:-1], b"\x91" * 100_000):
        with pytest.raises(StateError, match="is no state"):
            OneSymbol(content, window_size=5)


BROKEN = [
    ("ticks", ("window", "count"), 2),
    ("ticks", ("window", "count"), -1),
    ("ticks", ("check", "holes"), 99),
    ("ticks", ("check", "holes"), -1),
    ("ticks", ("check", "remembered"), -1),
    ("ticks", ("check", "last_ns"), -2),
    ("ticks", ("minute", "first_ns"), -2),
    ("ticks", ("minute", "bar", "minute"), -1),
    ("ticks", ("minute", "bar", "minute"), 2**62),
    ("ticks", ("multiscale", "minute"), 2**62),
    ("ticks", ("multiscale", "minute"), -2),
    ("ticks", ("multiscale", "diurnal", "day"), -2),
    ("learnt", ("realised", "minute"), -2),
    ("learnt", ("realised", "minute"), 2**62),
    ("learnt", ("realised", "observed"), 61),
    ("learnt", ("realised", "observed"), -1),
    ("learnt", ("scores", "variants", "pending"), scores.MAX_PENDING + 1),
    ("learnt", ("scores", "variants", "pending"), -1),
    ("learnt", ("scores", "variants", "issued", "horizon"), 4),
    ("learnt", ("scores", "variants", "issued", "horizon"), -1),
]


@pytest.mark.parametrize(("part", "path", "number"), BROKEN)
def test_numbers_that_lead_outside_of_an_array_are_refused(
    part: str, path: Sequence[str], number: int
) -> None:
    """Kernels do not check their indices: no stored state may have such a number."""
    one = small()
    one.apply(tick(0))
    record = np.array([one.state.record[part]])
    field = record
    for name in path[:-1]:
        field = field[name]
    field[path[-1]] = number
    stored = pack(msgspec.structs.replace(unpacked(one), **{part: record.tobytes()}))
    with pytest.raises(StateError, match="out of its range"):
        OneSymbol(stored, window_size=5)


@pytest.mark.parametrize("price", [0.0, -1.0, math.nan])
def test_a_price_that_is_none_is_refused(price: float) -> None:
    """Returns divide by prices."""
    one = small()
    one.apply(tick(0))
    stored = msgspec.structs.replace(unpacked(one), prices=np.array([price]).tobytes())
    with pytest.raises(StateError, match="out of its range"):
        OneSymbol(pack(stored), window_size=5)


@pytest.mark.parametrize("more", [1, 200, SLICE_TICKS])
def test_later_ticks_do_not_change_a_state_to_publish(more: int) -> None:
    """A copy stays the state after its tick while the rest of a slice is applied."""
    one = small(publish_every_s=60, history=1)
    one.apply_all([tick(at / 100, 100.0 + at / 10, trade_id=at) for at in range(SLICE_TICKS)])
    (row,) = one.table.rows.tolist()
    ticks = [
        tick(60 + at / 100, 150.0 + at / 10, trade_id=SLICE_TICKS + at) for at in range(1 + more)
    ]
    alone = one.restored()
    alone.apply(ticks[0])
    buffers = Buffers(64, copies=True)
    applied = one.table.apply(tick_batch(columns_of_ticks(ticks), [row] * len(ticks)), 0, buffers)
    assert (applied.next, len(applied.copies)) == (len(ticks), 2)
    assert applied.points["kind"].tolist() == [MINUTE, GRID]
    assert one.table.stored_at(row, applied.copies[1:], None) == alone.stored()


def test_ticks_far_ahead_of_their_publication_are_refused() -> None:
    """Such ticks are counted and change nothing; those of a fast replay are accepted."""
    one = small()
    assert one.apply(tick(0), START_NS) == "new"
    before = one.row
    assert one.apply(tick(61), START_NS) == "future"
    assert one.apply(tick(61), START_NS) == "future"
    assert one.row == before
    assert one.quality.future == 2
    # Ten times real time: each tick is near the one before it, and far ahead of its stamp.
    for at in range(1, 200):
        assert one.apply(tick(at), START_NS + at * NS // 10) == "new"
    assert one.quality.ticks == 200


def test_ended_minutes_and_scales_are_those_of_the_ticks() -> None:
    """The minutes that a state hands on, and its features, are those of its ticks."""
    one, scales, ended = small(), Scales(), 0
    for count in range(60):
        item = tick(20.0 + 7.5 * count, 100.0 + count % 5, size=None if count % 3 else 2.0)
        before, row_before = copied(one.ticks.minute), one.row
        for point in one.apply_one(item).points:
            if point.kind != MINUTE:
                continue
            ended += 1
            # Until the tick the minute was under way; its last step ends with it.
            assert point.bar.minute == before.bar.minute
            # Nor is the tick that ended it in the window of its last row.
            assert FeatureRow(one.state.symbol, *point.row.item()) == row_before
            assert point.bar.volume == before.bar.volume
            minutes.add_move(before.bar, before.sampled)
            assert point.bar.tobytes() == before.bar.tobytes()
            assert point.at_ns == (point.bar.minute + 1) * MINUTE_NS
            assert point.one_minute == point.bar.variance
            assert point.observed == (pytest.approx(2 / 3) if ended == 1 else 1.0)
            assert point.gap == 0
            scales.push(point.bar, point.observed)
            expected = scales.row(point.bar.minute)
            assert point.features[SCALES_FROM:].tobytes() == expected.tobytes()
            assert np.isnan(point.features[:SCALES_FROM]).all()
        bar = np.zeros(1, BAR)[0]
        fraction = minutes.pending(one.ticks.minute, item.time_ns, bar)
        assert fraction > 0
        expected = scales.within(bar, fraction)
        (newest,) = one.table.newest(one.table.rows)
        assert newest.features[SCALES_FROM:].tobytes() == expected.tobytes()
    assert ended == 7


def test_quality_counts_the_feed() -> None:
    """Each count has its own field; the verdict is ok after a day with a full window."""
    one = small()
    for trade_id, at in ((1, 0), (2, 1), (2, 1), (9, 2), (15, 90), (15, 90), (16, 10), (2, 1)):
        one.apply(tick(at, trade_id=trade_id))
    quality = one.quality
    assert (quality.gaps, quality.duplicates, quality.late, quality.ticks) == (1, 3, 1, 4)
    assert (quality.fill_ratio, quality.verdict) == (0.75, "warming")
    one.apply(tick(91, trade_id=17))
    assert (one.quality.fill_ratio, one.quality.verdict) == (1.0, "warming")
    for minute in range(2, 1442):
        one.apply(tick(60.0 * minute, trade_id=16 + minute))
    assert one.quality.verdict == "ok"
    assert small().quality.verdict == "cold"


@pytest.mark.parametrize("first_s", [0.0, 20.0, 59.5])
def test_a_symbol_is_cold_until_a_full_minute_was_watched(first_s: float) -> None:
    """The verdict depends on the time since the first tick, over a restart too."""
    one = small()
    for after_s, verdict in ((0, "cold"), (30, "cold"), (59.999, "cold"), (60, "warming")):
        one.apply(tick(first_s + after_s))
        assert (one.quality.verdict, one.restored().quality.verdict) == (verdict, verdict)
        (point,) = one.table.newest(one.table.rows)
        assert quality_of(point.quality.item()).verdict == verdict


def test_the_verdict_does_not_wait_for_the_window() -> None:
    """After a day of ticks it is ok, however long the window is: forecasts do not read it."""
    one = OneSymbol(window_size=5_000)
    one.apply_all([tick(60.0 * minute) for minute in range(1443)])
    (point,) = one.table.newest(one.table.rows)
    assert point.quality.warm == 1
    assert (one.quality.fill_ratio < 0.3, one.quality.verdict) == (True, "ok")


@pytest.mark.parametrize(("minutes", "verdict"), [(1439, "warming"), (1440, "ok")])
def test_a_day_of_minutes_is_warm(minutes: int, verdict: str) -> None:
    """A symbol is warm after a day; a stored state is as warm as the original."""
    one = small()
    one.apply_all([tick(60.0 * minute, trade_id=minute) for minute in range(minutes + 1)])
    assert (one.quality.verdict, one.restored().quality.verdict) == (verdict, verdict)


def test_what_was_learnt_survives_a_restart() -> None:
    """Calibrations, scores and the digest are restored; nothing else is learnt."""
    one = small()
    one.apply(tick(0))
    learnt = one.state.record.learnt
    empty = learnt.tobytes()
    assert set(learnt.dtype.names) == {"realised", "calibrations", "scores", "digest"}
    calibration = Calibrated("a", record=learnt.calibrations[1])
    for minute in range(100):
        calibration.add_realised(minute, (0.5,) * 4)
        calibration.issue(minute, (0.0,) * 4, (0.3,) * 4)
    version = scores.version_bytes("1")
    (row,) = one.table.rows.tolist()
    digest = calibration.pooled.digest
    scores.adopt(learnt.scores, one.table.daily[row], 1, digest, version)
    numbers = np.array((1e-3, 1e-4, 2e-3, 1e-3, 0.2))
    scores.issue(learnt.scores, 1, 99, 0, numbers)
    scores.issue(learnt.scores, 1, 99, 1, numbers)
    matured = np.zeros(9, scores.OUTCOME)
    assert scores.mature(learnt.scores, one.table.daily[row], 100, np.full(4, -14.0), matured) == 1
    DigestChain(one.table.records["learnt"]["digest"], row).add_forecast(forecast(0))
    other = one.restored()
    assert other.state.record.learnt.tobytes() == learnt.tobytes() != empty
    assert one.state.scores.loss_sums("ml", 0).n == 1
    assert other.state.scores.loss_sums("ml", 0) == one.state.scores.loss_sums("ml", 0)
    assert other.stored() == one.stored()


def test_a_state_keeps_as_many_forecasts_as_rows() -> None:
    """`features.history` bounds the forecasts and outcomes that are kept as well."""
    history = OneSymbol(history=3).state.forecast_history
    for step in range(5):
        history.add_forecast(forecast(10.0 * step))
        history.add_outcome(outcome(step))
    assert len(history.forecasts(99)) == 3
    assert len(history.outcomes(99)) == 3
