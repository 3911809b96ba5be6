"""Make the configured source: a recording, the generator, or a live venue."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from volsvc.config.live import LIVE_KINDS
from volsvc.config.settings import Settings, SettingsError, SourceSettings
from volsvc.config.warmup import WarmupSettings
from volsvc.domain import SourceError
from volsvc.sources.base import (
    FeedEvents,
    Known,
    PastOf,
    Source,
    SourceEvents,
    no_past,
    nothing_known,
)
from volsvc.sources.history import History
from volsvc.sources.recordings.recording import Recording
from volsvc.sources.recordings.tables.options import RowOptions
from volsvc.sources.replay import FileSource, GeneratorSource

DEFAULT_SYMBOLS = ("BTC-USD", "ETH-USD", "SOL-USD")


def build_source(
    settings: Settings, events: SourceEvents, feed: FeedEvents, known: Known = nothing_known
) -> Source | None:
    """Return the configured source, None if there is none.

    It goes on after the ticks that are `known` when it begins.
    Raises SourceError if the recording holds no tick, and SettingsError for a pipe in a loop or a
    symbol that the venue cannot have.
    """
    source, replay = settings.source, settings.replay
    if source.kind == "none":
        return None
    if source.kind in LIVE_KINDS:
        return live_source(source, feed, known, settings.warmup)
    if not source.path:
        warmup = settings.warmup
        return GeneratorSource(
            source.symbols or DEFAULT_SYMBOLS,
            source.seed,
            replay,
            events,
            time.time_ns,
            known,
            0 if warmup.source == "none" else warmup.days,
        )
    return file_source(settings, [Path(source.path)], events, _history_of(settings, known))


def _history_of(settings: Settings, known: Known) -> PastOf:
    """Return the bars before the first ticks of a recording.

    Raises SourceError if there is no such file.
    """
    warmup = settings.warmup
    if warmup.source == "none" or not warmup.history:
        return no_past
    # Its rows may have another form than those of the recording.
    options = replace(row_options(settings), columns=(), time_format="")
    return History(Path(warmup.history), options, warmup.days, known).past_of


def row_options(settings: Settings) -> RowOptions:
    """Return how the rows of files are to be understood."""
    source = settings.source
    alone = source.symbols[0] if len(source.symbols) == 1 else None
    return RowOptions(
        source.default_symbol or alone,
        source.columns,
        source.time_format,
        bad_print_sigmas=settings.features.bad_print_sigmas,
    )


def live_source(
    source: SourceSettings,
    events: FeedEvents,
    known: Known = nothing_known,
    warmup: WarmupSettings | None = None,
) -> Source:
    """Return the live source of a venue; raises SettingsError if a symbol is not valid.

    Symbols begin with their candles if there is a `warmup`.
    """
    # Imported here, because a replay needs no HTTP client.
    from volsvc.sources.live.source import LiveSource
    from volsvc.sources.live.venue_table import VENUES

    venue = VENUES[source.kind](source.feed)
    try:
        symbols = source.symbols or DEFAULT_SYMBOLS
        return LiveSource(venue, symbols, source, events, known, warmup)
    except SourceError as error:
        raise SettingsError(f"source.symbols: {error}") from error


def file_source(
    settings: Settings, paths: Sequence[Path], events: SourceEvents, past_of: PastOf = no_past
) -> FileSource:
    """Return a recording, of files, a folder or a pipe, as a source.

    The first tick of a symbol comes with the bars of `past_of`.
    Raises SourceError if the file holds no tick, and SettingsError if a pipe is to be looped.
    """
    source, replay = settings.source, settings.replay
    recording = Recording(paths, row_options(settings))
    if source.loop and recording.is_pipe:
        raise SettingsError(f"source.loop = True: {recording.label} can be read only once")
    # A wrong file must fail the start, not leave a daemon that waits for ticks.
    recording.check()
    return FileSource(
        recording,
        replay,
        events,
        symbols=frozenset(source.symbols),
        loop=source.loop,
        start_ns=time.time_ns() if replay.clock == "now" else None,
        past_of=past_of,
    )
