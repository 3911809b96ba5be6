"""Delays of the backoff."""

from __future__ import annotations

from volsvc.backoff import Backoff


def test_delays_grow_jitter_and_are_bounded() -> None:
    """The ceiling doubles up to the maximum; delays spread below it; a reset starts again."""
    for attempt in range(12):
        delays = set()
        for _ in range(200):
            backoff = Backoff(0.1, 5.0)
            for _ in range(attempt):
                backoff.delay_s()
            delays.add(backoff.delay_s())
        ceiling = min(5.0, 0.1 * 2**attempt)
        assert max(delays) <= ceiling
        assert max(delays) > 0.8 * ceiling
        assert min(delays) < 0.2 * ceiling
    backoff = Backoff(0.1, 5.0)
    assert all(backoff.delay_s() <= 5.0 for _ in range(5_000))
    backoff.reset()
    assert backoff.delay_s() <= 0.1
