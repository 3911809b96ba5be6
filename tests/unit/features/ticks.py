"""Ticks of one symbol for tests."""

from __future__ import annotations

from typing import Any

from volsvc.domain import NS, Tick

# 2026-01-05T00:00:00Z, a Monday.
START_NS = 1_767_571_200 * NS


def tick(at_s: float, price: float = 100.0, **more: Any) -> Tick:
    """Return a tick at a number of seconds after START_NS."""
    return Tick("BTC-USD", START_NS + round(at_s * NS), price, **more)
