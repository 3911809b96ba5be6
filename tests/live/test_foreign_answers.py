"""Answers that no venue has sent so far are refused, and end nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.client.scripted import Reply, scripted
from tests.daemon import command
from volsvc.domain import FeedError, InvalidTickError
from volsvc.sources.live import rest
from volsvc.sources.live.coinbase import Coinbase
from volsvc.sources.live.kraken import Kraken
from volsvc.sources.live.rest import RestClient
from volsvc.sources.live.venue import parsed

DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    "message",
    [
        {"type": "subscriptions", "channels": [{"name": "ticker", "product_ids": 5}]},
        {
            "channel": "subscriptions",
            "sequence_num": 1,
            "events": [{"subscriptions": {"market_trades": 5}}],
        },
    ],
)
def test_a_message_of_another_form(message: Any) -> None:
    """It is one malformed message; its text is short."""
    with pytest.raises(InvalidTickError) as caught:
        parsed(Coinbase().parse, json.dumps(message), 0)
    assert caught.value.reason == "json"
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "body", [DEEP, b'{"result": ' + DEEP + b"}", b"\xff"], ids=["deep", "nested", "bytes"]
)
@pytest.mark.parametrize("venue", [Coinbase(), Kraken()], ids=["coinbase", "kraken"])
def test_a_page_of_another_form(body: bytes, venue: Coinbase | Kraken) -> None:
    """Deep nesting exhausts no stack, and bytes need not be text."""
    with pytest.raises(InvalidTickError):
        parsed(venue.parse_trades, "BTC-USD", body)
    with pytest.raises(InvalidTickError):
        parsed(Coinbase().parse_candles, body)


async def test_a_long_page_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not read to its end, and not requested again."""
    monkeypatch.setattr(rest, "MAX_BODY", 10_000)
    long = Reply(body=b" " * 10_001)
    async with scripted(Reply(body=b" " * 10_000), long) as script, aiohttp.ClientSession() as http:
        client = RestClient(http, script.url, per_s=1_000)
        assert len(await client.get("/page")) == 10_000
        with pytest.raises(FeedError, match="larger than 10000 bytes") as caught:
            await client.get("/page")
        assert (caught.value.reason, len(script.requests)) == ("rest", 2)


async def test_a_download_of_deep_pages_ends_with_one_line(tmp_path: Path) -> None:
    """Exit code 1, and no traceback."""
    span = ("--start", "2026-01-05T00:00:00Z", "--end", "2026-01-05T01:00:00Z")
    async with scripted(Reply(body=DEEP)) as script:
        for kind in ("trades", "candles"):
            where = ("--symbols", "BTC-USD", "--kind", kind, "--rest-url", script.url)
            code, _, err = await command(
                "download", *span, *where, "--out", f"{kind}.csv", cwd=tmp_path
            )
            assert (code, "Traceback" in err) == (1, False), err
            assert "field '" in err
