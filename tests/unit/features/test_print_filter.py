"""Bad prints: held, confirmed or left out, whatever the ticks and whenever a state is restored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.features.one_symbol import OneSymbol, features
from tests.unit.features.ticks import tick
from volsvc.domain import Tick
from volsvc.domain.tick_columns import columns_of_ticks
from volsvc.features import Buffers
from volsvc.features.tick_batch import tick_batch

# A minute has a volatility of 0.1 %: 5 s between returns of sqrt(1/12) of that.
CALM_MOVE = 0.001 / math.sqrt(12)
STEP_S = 5.0
WARM_TICKS = 2_000


def state(sigmas: float = 15.0) -> OneSymbol:
    return OneSymbol(window_size=5, bad_print_sigmas=sigmas)


@cache
def stored(sigmas: float, factor: float) -> bytes:
    """Return a state after hours of a market that moves `factor` times as much as a calm one."""
    made = state(sigmas)
    made.apply_all(
        tick(STEP_S * n, 100.0 * math.exp(factor * CALM_MOVE * (n % 2)), trade_id=n)
        for n in range(WARM_TICKS + 1)
    )
    return made.stored()


def warm(sigmas: float = 15.0, factor: float = 1.0) -> OneSymbol:
    """Return a state after hours of a calm market; the last price is 100 exactly."""
    return OneSymbol(stored(sigmas, factor), window_size=5, bad_print_sigmas=sigmas)


def after(seconds: float, log_return: float) -> Tick:
    """Return a tick so long after those of `warm`, and so far from the last price."""
    return tick(STEP_S * WARM_TICKS + seconds, 100.0 * math.exp(log_return))


@pytest.mark.parametrize("factor", [1e-5, 0.5, 0.99, 1.01, 2.0, 1e5])
def test_one_bad_print_leaves_no_trace_but_its_count(factor: float) -> None:
    """Features are those of the ticks without it; the quality tells of it."""
    clean, dirty = warm(), warm()
    bad = tick(STEP_S * WARM_TICKS + 1, 100.0 * factor)
    assert dirty.apply_one(bad) == ("new", [], [])
    assert dirty.apply(bad) == "duplicate"
    for number in range(20):
        item = after(STEP_S * (number + 1), CALM_MOVE * (number % 2))
        assert dirty.rows_after(item) == clean.rows_after(item)
        assert features(dirty) == features(clean)
    quality = dirty.quality
    assert (quality.bad_prints, clean.quality.bad_prints) == (1, 0)
    assert quality.ticks == clean.quality.ticks


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.1, 2.0])
def test_a_true_jump_passes_when_the_next_tick_confirms_it(factor: float) -> None:
    """Then both ticks are applied, and the state is that of an engine which holds nothing."""
    filtered, plain = warm(), warm(0)
    ticks = [after(STEP_S * n, math.log(factor) + CALM_MOVE * (n % 2)) for n in range(1, 30)]
    assert filtered.rows_after(ticks[0]) == []
    first = plain.rows_after(ticks[0])
    assert filtered.rows_after(ticks[1]) == first + plain.rows_after(ticks[1])
    for item in ticks[2:]:
        assert filtered.rows_after(item) == plain.rows_after(item)
    assert features(filtered) == features(plain)
    assert filtered.check.tobytes() == plain.check.tobytes()
    assert filtered.quality == plain.quality


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("seconds", "limit"),
    [
        # The least return, 0.5 %, up to three seconds; then 15 sigmas of 0.1 % a minute.
        (0.001, 0.005),
        (1.0, 0.005),
        (20.0, 0.015 * math.sqrt(20 / 60)),
        (60.0, 0.015),
        (3_600.0, 0.015 * math.sqrt(60)),
    ],
)
def test_the_limit(seconds: float, limit: float, sign: int) -> None:
    """It grows with the time since the last tick; a price inside it is applied at once."""
    known = warm()
    for share, held in ((0.97, False), (1.03, True)):
        one = known.restored()
        rows = one.rows_after(after(seconds, sign * limit * share))
        assert (rows == []) is held


def test_the_limit_follows_the_symbol() -> None:
    """A symbol that moves ten times as much is allowed ten times as much."""
    wild = warm(factor=10)
    assert wild.restored().rows_after(after(60, 0.14)) != []
    assert wild.restored().rows_after(after(60, 0.16)) == []


def test_fills_of_one_order_may_be_as_far_apart_as_prices_of_a_second() -> None:
    """Their times are equal or nearly so."""
    wild = warm(factor=10)
    # So that the window holds no return.
    for n in range(1, 6):
        wild.apply(after(n / 10, 0.0))
    limit = 15 * 0.01 * math.sqrt(1 / 60)
    for share, held in ((0.95, False), (1.05, True)):
        rows = wild.restored().rows_after(after(0.5 + 1e-6, share * limit))
        assert (rows == []) is held


def test_a_new_symbol_has_a_prior() -> None:
    """In its first minutes a symbol may move by 15 sigmas of 150 % a year."""
    limit = 15 * 1.5 / math.sqrt(365.25 * 1440)
    for share, held in ((0.99, False), (1.01, True)):
        new = state()
        new.apply(tick(-5, 100.0))
        new.apply(tick(0, 100.0))
        rows = new.rows_after(tick(60, 100.0 * math.exp(share * limit)))
        assert (rows == []) is held


def test_a_busy_minute_widens_the_limit_at_once() -> None:
    """Moves of the current minute count before it has ended."""
    busy = warm()
    move = 0.0
    # Each is inside the limit of the ticks before it, and confirmed where it is not.
    for n in range(1, 8):
        move += 0.004
        busy.apply(after(5.0 * n, move))
    # Until the window holds none of them.
    for n in range(5):
        busy.apply(after(36.0 + n, move))
    assert busy.restored().rows_after(after(41, move + 0.012)) != []
    assert warm().rows_after(after(1, 0.012)) == []


def test_returns_of_the_window_widen_the_limit() -> None:
    """A feed whose every price is far from the one before it is not held at all."""
    new = state()
    held = [not new.rows_after(tick(n, 100.0 * 1.01**n)) for n in range(20)]
    # The second follows a single price, which is no law.
    assert held == [False] * 20
    assert new.quality.ticks == 20
    # After two ticks there is one return, of which the mean is the size.
    assert new.restored().rows_after(tick(19.5, 100.0 * 1.01**19 * math.exp(0.145))) != []
    assert new.restored().rows_after(tick(19.5, 100.0 * 1.01**19 * math.exp(0.155))) == []


def test_zero_holds_nothing() -> None:
    """With `bad_print_sigmas = 0` every price is applied at once."""
    assert [row.price for row in warm(0).rows_after(after(1, 9.0))] == [100.0 * math.exp(9.0)]


def test_a_bad_print_after_another_is_judged_by_itself() -> None:
    """Two wrong prices that disagree are both left out."""
    one = warm()
    for seconds, move in ((1, 2.0), (2, -2.0)):
        assert one.rows_after(after(seconds, move)) == []
    assert [row.price for row in one.rows_after(after(5, 0.0))] == [100.0]
    assert one.quality.bad_prints == 2


moves = st.lists(
    st.tuples(
        st.sampled_from([0.0, 1e-3, 1.0, 7.5, 61.0, 4_000.0]),
        st.sampled_from([100.0, 100.01, 100.02, 101.0, 150.0, 155.0, 1.0]),
    ),
    max_size=60,
)


@given(moves, st.integers(0, 60))
def test_any_prices_with_a_restart_at_any_tick(
    steps: Sequence[tuple[float, float]], cut: int
) -> None:
    """The features are those of the applied ticks alone, in their order; none is lost."""
    at, whole, plain = 0.0, state(), state(0)
    twin = state()
    taken: list[Tick] = []
    # The places of the applied ones in it.
    applied: list[int] = []
    for number, (step, price) in enumerate(steps):
        at += step
        item = tick(at, price, trade_id=number)
        taken.append(item)
        if number == cut:
            twin = twin.restored()
        found = whole.apply_one(item)
        assert repr(twin.apply_one(item)) == repr(found)
        assert twin.stored() == whole.stored()
        for row in found.rows:
            place = (applied[-1] if applied else -1) + 1
            while (taken[place].time_ns, taken[place].price) != (row.time_ns, row.price):
                place += 1
            applied.append(place)
            assert plain.rows_after(taken[place]) == [row]
        assert features(plain) == features(whole)
    quality, held = whole.quality, bool(taken) and bool(whole.ticks.prints.held.present)
    assert quality.ticks == len(applied)
    assert quality.ticks + quality.bad_prints + held == len(taken)


def test_a_state_between_a_held_tick_and_the_next_one_holds_the_next_one() -> None:
    """It is published at the held tick; restored from there, nothing is lost."""
    for third in (2.0, 1.6):
        whole = warm()
        jump, second = after(1, math.log(2)), after(2, math.log(third))
        assert whole.rows_after(jump) == []
        row = whole.table.row("BTC-USD")
        buffers = Buffers(64, copies=True)
        applied = whole.table.apply(tick_batch(columns_of_ticks([second]), [row]), 0, buffers)
        assert applied.copies["next"]["present"].tolist() == [1, 0]
        stored = whole.table.stored_at(row, applied.copies[:1], None)
        again = OneSymbol(stored, window_size=5, bad_print_sigmas=15.0)
        assert again.row is not None
        assert again.row.price == jump.price
        assert again.quality.ticks == WARM_TICKS + 2
        for number in range(3, 9):
            item = after(number, math.log(third) + CALM_MOVE * (number % 2))
            rows = again.rows_after(item)
            expected = whole.rows_after(item)
            assert len(rows) == len(expected) + (number == 3)
            assert rows[-1:] == expected
            assert again.stored() == whole.stored()
