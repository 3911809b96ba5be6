"""The second venue: the same machine, another file."""

from __future__ import annotations

from tests.live.feed import SYMBOL, WATCHED, Feed, listening, trades
from tests.live.kraken_server import kraken
from volsvc.config.settings import SourceSettings
from volsvc.sources.live.kraken import Kraken


async def test_kraken_through_loss_and_disconnect() -> None:
    """Lost trades and those of a disconnect come over REST, each once and in its place."""
    ticks = trades(40, 2)
    async with kraken(ticks, frozenset({20, 21}), drop_at=50) as server:
        keys = SourceSettings(**{**server.keys, **WATCHED})
        async with listening(keys, venue=Kraken()) as feed:
            await feed.until(lambda: len(feed.rows) == len(ticks), "all trades")
            assert_whole(feed)
            assert feed.metric("volsvc_feed_backfilled_trades_total") == 3
            assert feed.metric('volsvc_feed_reconnects_total{reason="closed"}') == 1
            assert {row.tick.source for row in feed.rows} == {"kraken"}


async def test_an_unknown_symbol_spoils_only_itself() -> None:
    """A symbol that the venue refuses by name is told in /health; the others go on."""
    async with kraken(trades(10, 2), frozenset(), drop_at=-1) as server:
        keys = SourceSettings(**{**server.keys, **WATCHED})
        async with listening(keys, (SYMBOL, "BTC-MARS"), Kraken()) as feed:
            await feed.until(lambda: len(feed.rows) == 20, "all trades")
            check = feed.health.checks["feed:BTC-MARS"]
            assert (check.status, check.detail) == (
                "degraded",
                "Currency pair not supported BTC/MARS",
            )
            assert feed.health.checks["feed:0"].status == "ok"
            assert feed.metric("volsvc_feed_reconnects_total") == 0


async def test_only_unknown_symbols() -> None:
    """When nothing is left to subscribe to, the connection is refused."""
    async with kraken([], frozenset(), drop_at=-1) as server:
        keys = SourceSettings(**{**server.keys, **WATCHED})
        async with listening(keys, ("BTC-MARS", "BTC-MOON"), Kraken()) as feed:
            reason = 'volsvc_feed_reconnects_total{reason="refused"}'
            await feed.until(lambda: feed.metric(reason) >= 1, "the refusal")


def assert_whole(feed: Feed) -> None:
    assert feed.ids == list(range(1_000, 1_000 + len(feed.ids)))
    quality = feed.table.get(SYMBOL).quality()
    assert (quality.gaps, quality.duplicates, quality.late) == (0, 0, 0)
