"""Tests of the configured source."""

from __future__ import annotations

import re
from typing import get_args

import pytest
from typer.main import get_command

from tests.unit.sources.replays import SYMBOLS, Events
from volsvc.cli.main import cli
from volsvc.config.live import LIVE_KINDS
from volsvc.config.settings import SettingsError, SourceSettings, load_settings
from volsvc.daemon.feed_listener import FeedListener
from volsvc.sources.base import Source
from volsvc.sources.factory import build_source
from volsvc.sources.live.source import LiveSource
from volsvc.sources.replay import GeneratorSource
from volsvc.telemetry.health import Health
from volsvc.telemetry.metrics import Metrics

CHANNELS = {
    "coinbase": {"trades": "market_trades", "ticker": "ticker"},
    "kraken": {"trades": "trade", "ticker": "ticker"},
}


def source_of(**keys: object) -> Source | None:
    settings = load_settings(None, {"source": keys})
    return build_source(settings, Events(), FeedListener(Metrics(), Health()))


@pytest.mark.parametrize("kind", sorted(LIVE_KINDS))
@pytest.mark.parametrize("feed", ["trades", "ticker"])
def test_every_venue(kind: str, feed: str) -> None:
    """Each kind of a live source asks its venue for the channel of the settings."""
    source = source_of(kind=kind, feed=feed, symbols=list(SYMBOLS))
    assert isinstance(source, LiveSource)
    assert source.identity.startswith(f"{kind}@")
    asked = " ".join(source._venue.subscribe_messages(SYMBOLS))
    assert re.findall(r"market_trades|ticker|trade\b", asked) == [CHANNELS[kind][feed]]


@pytest.mark.parametrize(
    ("kind", "name", "remedy"),
    [
        ("kraken", "XBT-USD", "write BTC-USD"),
        ("kraken", "XBT/USD", "write BTC-USD"),
        ("kraken", "XDG-EUR", "write DOGE-EUR"),
        ("kraken", "ETH/XBT", "write ETH-BTC"),
        ("kraken", "BTCUSD", "write it as BTC-USD"),
        ("kraken", "BTC USD", "not a valid symbol name"),
        ("coinbase", "BTC USD", "not a valid symbol name"),
    ],
)
def test_a_symbol_that_the_venue_cannot_have(kind: str, name: str, remedy: str) -> None:
    """It is refused at the start, with the setting, the name, and the name to write instead."""
    with pytest.raises(SettingsError, match=remedy) as caught:
        source_of(kind=kind, symbols=["ETH-USD", name])
    assert str(caught.value).startswith(f"source.symbols: {name!r}")


def test_other_kinds() -> None:
    """`none` gives no source, and `replay` without a path the generator."""
    assert source_of(kind="none") is None
    assert isinstance(source_of(kind="replay"), GeneratorSource)


def test_help_names_every_kind() -> None:
    """The help of `--source` has every kind of source."""
    run = get_command(cli).commands["run"]  # type: ignore[attr-defined]
    (option,) = [param for param in run.params if param.name == "source"]
    kinds = get_args(SourceSettings.model_fields["kind"].annotation)
    assert [kind for kind in kinds if kind not in option.help] == []
