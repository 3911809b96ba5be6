"""Bad prints: held, confirmed or left out, whatever the ticks and whenever a state is restored."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.applied import apply, rows_after
from tests.unit.features.ticks import tick
from volsvc.config.settings import FeatureSettings
from volsvc.domain import Tick
from volsvc.features import SymbolState, TickStatus

# A minute has a volatility of 0.1 %: 5 s between returns of sqrt(1/12) of that.
CALM_MOVE = 0.001 / math.sqrt(12)
STEP_S = 5.0
WARM_TICKS = 2_000


def state(sigmas: float = 15.0) -> SymbolState:
    return SymbolState("BTC-USD", FeatureSettings(window_size=5, bad_print_sigmas=sigmas))


def restored(one: SymbolState, sigmas: float = 15.0) -> SymbolState:
    other = state(sigmas)
    other.restore(json.loads(json.dumps(one.dump())))
    return other


def calm(count: int) -> list[Tick]:
    """Return ticks whose price goes up and down by one step of a calm market."""
    return [
        tick(STEP_S * n, 100.0 * math.exp(CALM_MOVE * (n % 2)), trade_id=n) for n in range(count)
    ]


def warm(sigmas: float = 15.0) -> SymbolState:
    """Return a state after hours of a calm market; the last price is 100 exactly."""
    made = state(sigmas)
    for item in calm(WARM_TICKS + 1):
        apply(made, item)
    return made


def after(seconds: float, log_return: float) -> Tick:
    """Return a tick so long after those of `warm`, and so far from the last price."""
    return tick(STEP_S * WARM_TICKS + seconds, 100.0 * math.exp(log_return))


def features(one: SymbolState) -> str:
    """Return all of a state that forecasts depend on, and the newest row."""
    stored = dict(one.dump())
    for name in ("order", "prints", "waiting"):
        stored.pop(name, None)
    return json.dumps(stored) + repr(one.row)


@pytest.mark.parametrize("factor", [1e-5, 0.5, 0.99, 1.01, 2.0, 1e5])
def test_one_bad_print_leaves_no_trace_but_its_count(factor: float) -> None:
    """Features are those of the ticks without it; the quality tells of it."""
    clean, dirty = warm(), warm()
    bad = tick(STEP_S * WARM_TICKS + 1, 100.0 * factor)
    assert dirty.add(bad) is TickStatus.NEW
    assert dirty.advance() is None
    assert apply(dirty, bad) is TickStatus.DUPLICATE
    for number in range(20):
        item = after(STEP_S * (number + 1), CALM_MOVE * (number % 2))
        assert rows_after(dirty, item) == rows_after(clean, item)
        assert features(dirty) == features(clean)
    quality = dirty.quality()
    assert (quality.bad_prints, clean.quality().bad_prints) == (1, 0)
    assert quality.ticks == clean.quality().ticks


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.1, 2.0])
def test_a_true_jump_passes_when_the_next_tick_confirms_it(factor: float) -> None:
    """Then both ticks are applied, and the state is that of an engine which holds nothing."""
    filtered, plain = warm(), warm(0)
    ticks = [after(STEP_S * n, math.log(factor) + CALM_MOVE * (n % 2)) for n in range(1, 30)]
    assert rows_after(filtered, ticks[0]) == []
    first = rows_after(plain, ticks[0])
    assert rows_after(filtered, ticks[1]) == first + rows_after(plain, ticks[1])
    for item in ticks[2:]:
        assert rows_after(filtered, item) == rows_after(plain, item)
    assert json.dumps(filtered.dump()) == json.dumps(plain.dump())
    assert filtered.quality() == plain.quality()


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
        one = restored(known)
        rows = rows_after(one, after(seconds, sign * limit * share))
        assert (rows == []) is held


def test_the_limit_follows_the_symbol() -> None:
    """A symbol that moves ten times as much is allowed ten times as much."""
    wild = state()
    for n in range(WARM_TICKS + 1):
        apply(wild, tick(STEP_S * n, 100.0 * math.exp(10 * CALM_MOVE * (n % 2))))
    assert rows_after(restored(wild), after(60, 0.14)) != []
    assert rows_after(restored(wild), after(60, 0.16)) == []


def test_fills_of_one_order_may_be_as_far_apart_as_prices_of_a_second() -> None:
    """Their times are equal or nearly so."""
    wild = state()
    for n in range(WARM_TICKS + 1):
        apply(wild, tick(STEP_S * n, 100.0 * math.exp(10 * CALM_MOVE * (n % 2))))
    # So that the window holds no return.
    for n in range(1, 6):
        apply(wild, after(n / 10, 0.0))
    limit = 15 * 0.01 * math.sqrt(1 / 60)
    for share, held in ((0.95, False), (1.05, True)):
        rows = rows_after(restored(wild), after(0.5 + 1e-6, share * limit))
        assert (rows == []) is held


def test_a_new_symbol_has_a_prior() -> None:
    """In its first minutes a symbol may move by 15 sigmas of 150 % a year."""
    limit = 15 * 1.5 / math.sqrt(365.25 * 1440)
    for share, held in ((0.99, False), (1.01, True)):
        new = state()
        apply(new, tick(-5, 100.0))
        apply(new, tick(0, 100.0))
        rows = rows_after(new, tick(60, 100.0 * math.exp(share * limit)))
        assert (rows == []) is held


def test_a_busy_minute_widens_the_limit_at_once() -> None:
    """Moves of the current minute count before it has ended."""
    busy = warm()
    move = 0.0
    # Each is inside the limit of the ticks before it, and confirmed where it is not.
    for n in range(1, 8):
        move += 0.004
        apply(busy, after(5.0 * n, move))
    # Until the window holds none of them.
    for n in range(5):
        apply(busy, after(36.0 + n, move))
    assert rows_after(restored(busy), after(41, move + 0.012)) != []
    assert rows_after(warm(), after(1, 0.012)) == []


def test_returns_of_the_window_widen_the_limit() -> None:
    """A feed whose every price is far from the one before it is not held at all."""
    new = state()
    held = [not rows_after(new, tick(n, 100.0 * 1.01**n)) for n in range(20)]
    # The second follows a single price, which is no law.
    assert held == [False] * 20
    assert new.quality().ticks == 20
    # After two ticks there is one return, of which the mean is the size.
    assert rows_after(restored(new), tick(19.5, 100.0 * 1.01**19 * math.exp(0.145))) != []
    assert rows_after(restored(new), tick(19.5, 100.0 * 1.01**19 * math.exp(0.155))) == []


def test_zero_holds_nothing() -> None:
    """With `bad_print_sigmas = 0` every price is applied at once."""
    assert [row.price for row in rows_after(warm(0), after(1, 9.0))] == [100.0 * math.exp(9.0)]


def test_a_bad_print_after_another_is_judged_by_itself() -> None:
    """Two wrong prices that disagree are both left out."""
    one = warm()
    for seconds, move in ((1, 2.0), (2, -2.0)):
        assert rows_after(one, after(seconds, move)) == []
    assert [row.price for row in rows_after(one, after(5, 0.0))] == [100.0]
    assert one.quality().bad_prints == 2


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
    twin, taken, applied = state(), [], []
    for number, (step, price) in enumerate(steps):
        at += step
        item = tick(at, price, trade_id=number)
        taken.append(item)
        if number == cut:
            twin = restored(twin)
        whole.add(item)
        twin.add(item)
        while (one := whole.advance()) is not None:
            applied.append(one)
            assert twin.advance() == one
            assert json.dumps(twin.dump()) == json.dumps(whole.dump())
            assert rows_after(plain, one) == [whole.row]
            assert features(plain) == features(whole)
        assert twin.advance() is None
        assert json.dumps(twin.dump()) == json.dumps(whole.dump())
    kept = [item for item in taken if item in applied]
    assert applied == kept
    quality, held = whole.quality(), bool(taken) and taken[-1] not in applied
    assert quality.ticks == len(applied)
    assert quality.ticks + quality.bad_prints + held == len(taken)
