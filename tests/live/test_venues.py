"""Tests that hold for every venue."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from volsvc.config.live import LIVE_KINDS
from volsvc.domain import InvalidTickError, parse_time
from volsvc.sources.live.venue_table import VENUES
from volsvc.telemetry.feed_metrics import SOURCES

NOW_NS = parse_time("2026-04-07T14:30:04Z")


def test_every_venue_is_registered() -> None:
    """The table of venues has the kinds of the configuration, and metrics know each of them."""
    assert set(VENUES) == LIVE_KINDS
    assert {name: make("trades").name for name, make in VENUES.items()} == {
        name: name for name in VENUES
    }
    assert set(SOURCES) >= set(VENUES)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "events", "trades", "tickers", "subscriptions", "product_id", "data"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    JSON,
    st.sampled_from(["market_trades", "ticker", "subscriptions", "heartbeats", "trade", "x", None]),
    st.sampled_from(["match", "error", "subscriptions", "snapshot", None]),
)
def test_any_message_is_parsed_or_rejected(events: Any, channel: Any, kind: Any) -> None:
    """No message, however strange, raises anything but InvalidTickError."""
    message = {"channel": channel, "type": kind, "events": events, "data": events}
    message |= {"sequence_num": 1, "channels": events, "result": events, "method": kind}
    if channel is None:
        del message["channel"]
    for make in VENUES.values():
        venue = make("trades")
        with contextlib.suppress(InvalidTickError):
            venue.parse(json.dumps(message), NOW_NS)
        with contextlib.suppress(InvalidTickError):
            venue.parse_trades("BTC-USD", json.dumps(events).encode())
