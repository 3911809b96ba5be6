"""The pauses between attempts at a registry that does not answer."""

from __future__ import annotations

import random

import pytest

from volsvc.backoff import Backoff
from volsvc.serving.registry_breaker import OPENS_AFTER, CircuitBreaker
from volsvc.serving.registry_client import RegistryAwayError


@pytest.mark.parametrize("seed", range(5))
def test_pauses_grow_between_half_the_base_and_the_longest(seed: int) -> None:
    """Half of a pause is fixed at the base, half is drawn below a ceiling that doubles."""
    random.seed(seed)
    breaker = CircuitBreaker(Backoff(8.0, 40.0))
    pauses = [breaker.failed(0.0, "away") for _ in range(6)]
    random.seed(seed)
    ceilings = (8.0, 16.0, 32.0, 40.0, 40.0, 40.0)
    assert pauses == [random.uniform(0, ceiling) / 2 + 4.0 for ceiling in ceilings]


def test_calls_fail_at_once_until_the_next_attempt() -> None:
    """From the third failure in a row on, a call fails until the pause is over."""
    breaker, now_s = CircuitBreaker(Backoff(10.0, 10.0)), 1000.0
    for failures in range(1, OPENS_AFTER + 3):
        pause_s = breaker.failed(now_s, f"fault {failures}")
        assert breaker.open is (failures >= OPENS_AFTER)
        if breaker.open:
            told = f"fault {failures}; {failures} failures in a row, next attempt in "
            with pytest.raises(RegistryAwayError) as raised:
                breaker.check(now_s + 1.0)
            assert str(raised.value) == f"{told}{pause_s - 1.0:.1f} s"
        else:
            breaker.check(now_s)
        now_s += pause_s
        breaker.check(now_s)


def test_an_answer_closes_the_breaker() -> None:
    """Failures and pauses are counted afresh, and the old reason is forgotten."""
    breaker = CircuitBreaker(Backoff(1.0, 1e6))
    for _ in range(12):
        breaker.failed(0.0, "away")
    breaker.worked()
    assert (breaker.failures, breaker.reason, breaker.open) == (0, "", False)
    breaker.check(0.0)
    assert breaker.failed(0.0, "away") <= 1.0
    assert not breaker.open
