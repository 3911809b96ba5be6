"""The table of venues."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from volsvc.sources.live.coinbase import Coinbase
from volsvc.sources.live.kraken import Kraken
from volsvc.sources.live.venue import FeedKind, Venue

# By the value of `source.kind`; a test holds the keys against `volsvc.config.live.VenueName`.
VENUES: Mapping[str, Callable[[FeedKind], Venue]] = {"coinbase": Coinbase, "kraken": Kraken}
