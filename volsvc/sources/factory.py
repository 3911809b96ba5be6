"""The configured source: a recording, the generator, or a live venue."""

from __future__ import annotations

import time
from pathlib import Path

from volsvc.config.live import LIVE_KINDS
from volsvc.config.settings import Settings, SourceSettings
from volsvc.sources.base import FeedEvents, Source, SourceEvents
from volsvc.sources.files import Recording
from volsvc.sources.replay import FileSource, GeneratorSource

DEFAULT_SYMBOLS = ("BTC-USD", "ETH-USD", "SOL-USD")


def build_source(settings: Settings, events: SourceEvents, feed: FeedEvents) -> Source | None:
    """The configured source; raises SourceError when there is no tick in it."""
    source, replay = settings.source, settings.replay
    if source.kind == "none":
        return None
    if source.kind in LIVE_KINDS:
        return live_source(source, feed)
    if not source.path:
        return GeneratorSource(
            source.symbols or DEFAULT_SYMBOLS, source.seed, replay, events, time.time_ns
        )
    return file_source(settings, Path(source.path), events)


def live_source(source: SourceSettings, events: FeedEvents) -> Source:
    """A venue's live ticks; raises SourceError for a name that cannot be a symbol."""
    from volsvc.sources.live.coinbase import Coinbase
    from volsvc.sources.live.kraken import Kraken
    from volsvc.sources.live.source import LiveSource

    venue = Kraken(source.feed) if source.kind == "kraken" else Coinbase(source.feed)
    return LiveSource(venue, source.symbols or DEFAULT_SYMBOLS, source, events)


def file_source(settings: Settings, path: Path, events: SourceEvents) -> FileSource:
    """A recording as a source; raises SourceError when there is no tick in it."""
    source, replay = settings.source, settings.replay
    default = source.default_symbol or (source.symbols or DEFAULT_SYMBOLS)[0]
    recording = Recording(path, default)
    recording.check()
    return FileSource(
        recording,
        replay,
        events,
        symbols=frozenset(source.symbols),
        loop=source.loop,
        start_ns=time.time_ns() if replay.clock == "now" else None,
    )
