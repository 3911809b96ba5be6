"""Tests that hold for every venue."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any

import pytest
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
    st.sampled_from(["market_trades", "ticker", "subscriptions", "heartbeats", "trade", "x", None])
    | JSON,
    st.sampled_from(["match", "error", "subscriptions", "snapshot", None]) | JSON,
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


STRANGE = (
    '{"type": []}',
    '{"type": "subscriptions", "channels": [{"name": "ticker", "product_ids": 7}]}',
    '{"channel": "subscriptions", "sequence_num": 1, "events": [{"subscriptions": {"a": 7}}]}',
    '{"method": "subscribe", "success": true, "result": {"symbol": [], "channel": {}}}',
)


@pytest.mark.parametrize("text", STRANGE)
@pytest.mark.parametrize("name", sorted(VENUES))
def test_strange_messages(name: str, text: str) -> None:
    """A list or a number in the place of a name is a malformed message, or ignored."""
    with contextlib.suppress(InvalidTickError):
        VENUES[name]("trades").parse(text, NOW_NS)


def test_a_side_that_is_a_list() -> None:
    """Kraken's REST trades are lists; what stands in the place of the side may be anything."""
    trade = ["70000", "1", 1_775_572_204.5, ["b"], "m", "", 9]
    body = json.dumps({"error": [], "result": {"XXBTZUSD": [trade]}}).encode()
    (tick,) = VENUES["kraken"]("trades").parse_trades("BTC-USD", body)
    assert (tick.side, tick.trade_id) == (None, 9)


@pytest.mark.parametrize("name", sorted(VENUES))
@pytest.mark.parametrize("field", ["type", "channel", "sequence_num", "error", "reason", "symbol"])
def test_nested_messages(name: str, field: str) -> None:
    """A message that is nested as deep as can be decoded is malformed, or ignored."""
    limit = sys.getrecursionlimit()
    for depth in range(limit // 2, limit, 7):
        nest = "[" * depth + "]" * depth
        message = {"type": '"error"', "channel": '"ticker"', "method": '"subscribe"', field: nest}
        if field in ("type", "error", "reason"):
            del message["channel"]
        text = ",".join(f'"{key}":{value}' for key, value in message.items())
        with contextlib.suppress(InvalidTickError):
            VENUES[name]("trades").parse(f"{{{text}}}", NOW_NS)
