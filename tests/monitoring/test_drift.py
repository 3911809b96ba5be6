"""Drift: false alarms within the budget on simulated streams, shifts found, degenerate columns."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.stats import ks_2samp

from volsvc.drift import DriftReferenceError, DriftRow, Reference, WindowCollector, judge, summarise

Array = NDArray[np.float64]
NAMES = ("value", "volatility")
DAY = 1440
REFERENCE, CURRENT = 60 * DAY, 7 * DAY
STREAMS = 50
# False alarms a week.
BUDGET = 0.1


def ar(rng: np.random.Generator, phi: float) -> Array:
    """Return first-order autoregressions of unit variance, one a row."""
    noise = rng.standard_normal((STREAMS, REFERENCE + CURRENT + 2_000))
    values = lfilter([1], [1, -phi], noise, axis=1)[:, 2_000:]
    return np.asarray(values * np.sqrt(1 - phi**2))


def garch(rng: np.random.Generator) -> Array:
    """Return GARCH(1, 1) returns with heavy tails, one a row."""
    count = REFERENCE + CURRENT + 2_000
    noise = rng.standard_t(6, (count, STREAMS)) / np.sqrt(1.5)
    variance, returns = np.ones(STREAMS), np.empty_like(noise)
    for at in range(count):
        returns[at] = np.sqrt(variance) * noise[at]
        variance = 0.02 + 0.08 * returns[at] ** 2 + 0.9 * variance
    return np.asarray(returns[2_000:].T)


def with_volatility(values: Array) -> Array:
    """Return a stream and the logarithm of its running variance: (rows, 2)."""
    running = lfilter([0.03], [1, -0.97], values**2)
    return np.column_stack((values, np.log(running + 1e-6)))


@pytest.fixture(scope="module")
def streams() -> list[tuple[Reference, Array, Array]]:
    """200 stationary streams: the reference, a sample of its rows, and the week after them."""
    rng = np.random.default_rng(20)
    found = []
    for values in (ar(rng, 0.5), ar(rng, 0.95), ar(rng, 0.99), garch(rng)):
        for row in values:
            columns = with_volatility(row)
            past, week = columns[:REFERENCE], columns[REFERENCE:]
            found.append((summarise(NAMES, [past]), past[:: DAY // 60], week))
    return found


def days(week: Array) -> list[Array]:
    """Return the days of a week of rows."""
    return [week[at : at + DAY] for at in range(0, len(week), DAY)]


@pytest.mark.long
def test_stationary_streams_stay_within_the_budget(
    streams: list[tuple[Reference, Array, Array]],
) -> None:
    """200 stream-weeks stay within the budget of false alarms; a plain K-S test does not."""
    assert len(streams) == 200
    alarms = plain = 0
    for reference, past, week in streams:
        for day in days(week):
            result = judge(reference, day, DAY, BUDGET)
            alarms += bool(result.drifted)
            tests = [ks_2samp(past[:, at], day[:, at], method="asymp") for at in (0, 1)]
            plain += min(test.pvalue for test in tests) < result.level
    allowed = BUDGET * len(streams)
    assert alarms <= allowed
    assert plain > 20 * allowed


@pytest.mark.parametrize(
    ("shift", "feature"),
    [
        (lambda values: values + 1.0, "value"),
        (lambda values: values * 2.0, "value"),
        (lambda values: values * 2.0, "volatility"),
    ],
    ids=["mean", "scale", "scale-in-volatility"],
)
def test_shifts_are_found_in_the_first_whole_window(
    streams: list[tuple[Reference, Array, Array]], shift: object, feature: str
) -> None:
    """A mean moved by one deviation, or twice the scale, is found in a day in 19 of 20 streams.

    This holds for streams whose memory is at most a thirtieth of the window; slower ones need a
    longer window.
    """
    assert callable(shift)
    fast = [*streams[:100], *streams[150:]]
    found = 0
    for reference, _, week in fast:
        values = shift(week[: 2 * DAY, 0])
        found += feature in judge(reference, with_volatility(values)[DAY:], DAY, BUDGET).drifted
    assert found >= 0.95 * len(fast)


def test_another_tick_rate_is_found() -> None:
    """Half the tick rate is found by the time that a return window covers."""
    rng = np.random.default_rng(3)
    rate = np.exp(0.3 * ar(rng, 0.95)[0])
    reference = summarise(("span_s",), [(10 * rate[:REFERENCE, None])])
    now = rate[REFERENCE : REFERENCE + DAY, None]
    assert judge(reference, 10 * now, DAY, BUDGET).drifted == ()
    assert judge(reference, 20 * now, DAY, BUDGET).drifted == ("span_s",)


def test_degenerate_columns() -> None:
    """NaN, constant and infinite columns, short streams and no rows get a verdict, not an error."""
    rng = np.random.default_rng(4)
    names = ("good", "nan", "constant", "infinite", "half")
    rows = rng.standard_normal((20_000, 5))
    rows[:, 1], rows[:, 2], rows[:, 3] = np.nan, 1.0, np.inf
    rows[::2, 4] = np.nan
    reference = summarise(names, [rows])
    for now in (rows[:500], rows[:1], rows[:0], np.full((500, 5), np.nan), np.zeros((500, 5))):
        result = judge(reference, now, len(now), BUDGET)
        verdicts = {f.feature: f.verdict for f in result.features}
        assert verdicts["nan"] == verdicts["infinite"] == "unknown"
        assert verdicts["constant"] in ("constant", "too_few")
        assert result.fields()["rows"] == len(now)
    assert judge(reference, rows[:10], 10, BUDGET).drifted == ()


def test_too_few_rows_make_no_reference() -> None:
    """Too few rows for the distribution of a distance raise DriftReferenceError."""
    with pytest.raises(DriftReferenceError, match="too few"):
        summarise(("a",), [np.zeros((100, 1))])
    with pytest.raises(DriftReferenceError, match=r"^0 rows are too few"):
        summarise(("a",), [])


def test_a_reference_survives_its_file() -> None:
    """A stored reference gives equal verdicts, and foreign bytes raise DriftReferenceError."""
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((20_000, 2))
    reference = summarise(NAMES, [rows], {"files": ["a"]})
    again = Reference.load(reference.dump())
    assert again.dump() == reference.dump()
    now = rows[:1_000] + 1
    assert judge(again, now, 1_000, BUDGET).drifted == judge(reference, now, 1_000, BUDGET).drifted
    for data in (b"", b"PK", reference.dump()[:1_000]):
        with pytest.raises(DriftReferenceError):
            Reference.load(data)


def test_windows_end_by_event_time() -> None:
    """A window takes one row a symbol and minute, until the interval has passed."""
    collector = WindowCollector(interval_s=600, min_rows=5)
    for second in range(0, 601, 20):
        assert not collector.completed
        if collector.claim_minute("A", second * 10**9):
            collector.add(DriftRow("A", second * 10**9, [1.0]))
    (window,) = collector.completed
    assert (window.rows.shape, window.length) == ((11, 1), 11)
    assert (window.start_ns, window.end_ns, len(collector)) == (0, 600 * 10**9, 0)
    assert not collector.claim_minute("A", 600 * 10**9), "that minute was counted"
