"""Quotas against brute force: every request is judged from all requests before it."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volsvc.web.auth.api_keys import ApiKey
from volsvc.web.auth.rate_limit import WINDOW_S, Quota, RateLimiter, quota_headers

# Quotas and times in binary fractions: the limiter's floats are exact, and the oracle decides as it
# does at the very moment at which a request becomes possible.
RATES = (1, 15, 30, 60, 120, 960)
# In eighths of a second: bursts, ordinary pauses, and nights.
PAUSES = st.sampled_from((0, 0, 0, 0, 1, 4, 8, 16, 32, 480, 8 * 3_600, 8 * 86_400 * 365))


def key(rate: int, name: str = "caller") -> ApiKey:
    return ApiKey(name, b"", frozenset(), None, rate)


def left(rate: int, now: Fraction, admitted: list[Fraction]) -> Fraction:
    """Return the requests that are left at a time, after those that were admitted.

    The least over all earlier times at which the quota may have been whole: from then on it has
    grown at its rate, never beyond the whole, and each admitted request has taken one.
    """
    per_s = Fraction(rate, round(WINDOW_S))
    found = [Fraction(rate)]
    for since in admitted:
        taken = sum(1 for at in admitted if at >= since)
        found.append(rate + (now - since) * per_s - taken)
    return min(found)


@given(st.sampled_from(RATES), st.lists(PAUSES, min_size=1, max_size=150), st.integers(0, 2**20))
def test_decisions_are_those_of_brute_force(rate: int, pauses: list[int], start: int) -> None:
    """A request passes if a whole one is left; all numbers of the quota follow from what is."""
    limiter, now, admitted = RateLimiter(), Fraction(start), list[Fraction]()
    per_s = Fraction(rate, round(WINDOW_S))
    for pause in pauses:
        now += Fraction(pause, 8)
        quota = limiter.take(key(rate), float(now))
        assert quota is not None
        before = left(rate, now, admitted)
        passes = before >= 1
        assert (quota.wait_s == 0) is passes
        if passes:
            admitted.append(now)
        after = left(rate, now, admitted)
        assert (quota.most, quota.left) == (rate, math.floor(after))
        assert quota.reset_s == float((rate - after) / per_s)
        assert quota.wait_s == float(max(Fraction(0), (1 - before) / per_s))


def burst(limiter: RateLimiter, caller: ApiKey, now_s: float) -> int:
    """Return how many requests pass at one time."""
    passed = 0
    while (quota := limiter.take(caller, now_s)) is not None and not quota.wait_s:
        passed += 1
        assert passed <= 10 * caller.rate_per_minute, "there is no end"
    return passed


@pytest.mark.parametrize("rate", [1, 7, 60, 1_000])
@pytest.mark.parametrize("idle_s", [60.0, 61.0, 3_600.0, 1e6, 1e9])
def test_a_long_pause_saves_nothing(rate: int, idle_s: float) -> None:
    """However long a key was idle, no more than the quota of a minute passes at once."""
    limiter, caller = RateLimiter(), key(rate)
    assert burst(limiter, caller, 5.0) == rate
    assert burst(limiter, caller, 5.0 + idle_s) == rate
    assert burst(limiter, caller, 5.0 + idle_s) == 0


@given(st.integers(1, 50), st.lists(st.floats(0, 90), min_size=1, max_size=120))
def test_no_minute_has_more_than_two_quotas(rate: int, pauses: list[float]) -> None:
    """In any span of time at most one quota passes, and what comes back meanwhile."""
    limiter, now, admitted = RateLimiter(), 0.0, list[float]()
    for pause in pauses:
        now += pause
        for _ in range(3):
            quota = limiter.take(key(rate), now)
            assert quota is not None
            if not quota.wait_s:
                admitted.append(now)
    for first, since in enumerate(admitted):
        for last in range(first, len(admitted)):
            most = rate + (admitted[last] - since) * rate / WINDOW_S
            assert last - first + 1 <= most + 1e-6


@given(st.integers(1, 1_000), st.integers(0, 30))
def test_after_the_named_time_a_request_passes(rate: int, more: int) -> None:
    """A caller that waits as long as it is told to passes; a refused request costs nothing."""
    limiter, caller = RateLimiter(), key(rate)
    burst(limiter, caller, 0.0)
    quotas = [limiter.take(caller, 0.0) for _ in range(more + 1)]
    (refused,) = set(quotas)
    assert refused is not None
    wait_s = int(quota_headers(refused)["Retry-After"])
    assert refused.wait_s <= wait_s < refused.wait_s + 1
    again = limiter.take(caller, float(wait_s))
    assert again is not None
    assert again.wait_s == 0


def test_keys_have_quotas_of_their_own() -> None:
    """One key's requests take nothing from another's; a key without a limit has no quota."""
    limiter = RateLimiter()
    assert burst(limiter, key(5, "one"), 0.0) == 5
    assert burst(limiter, key(3, "other"), 0.0) == 3
    assert limiter.take(key(0, "free"), 0.0) is None


def test_a_lowered_quota_applies_at_once() -> None:
    """After a reload that lowers a key's quota, no more than the new one passes."""
    limiter = RateLimiter()
    limiter.take(key(100), 0.0)
    assert burst(limiter, key(4), 0.0) == 4
    assert burst(limiter, key(4), 60.0) == 4


def test_headers_of_a_quota() -> None:
    """The headers round up, so that nobody comes back too early."""
    assert quota_headers(Quota(60, 12, 47.2, 0.0)) == {
        "RateLimit-Policy": '"default";q=60;w=60',
        "RateLimit": '"default";r=12;t=48',
    }
    assert quota_headers(Quota(60, 0, 60.0, 0.2))["Retry-After"] == "1"
