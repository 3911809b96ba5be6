"""The commands around live feeds: record, download, simulate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from volsvc.cli.options import (
    MOST_MINUTES,
    ConfigFile,
    RestUrl,
    Speed,
    Symbols,
    WsUrl,
    run_until_signal,
    settings_of,
)
from volsvc.config.live import VenueName

feeds = typer.Typer()

Live = Annotated[VenueName, typer.Option("--source", help="venue")]


@feeds.command()
def record(
    out: Annotated[Path, typer.Option(help="CSV or NDJSON, .gz and .zst too, or Parquet")],
    config: ConfigFile = None,
    source: Live = "coinbase",
    symbols: Symbols = None,
    ws_url: WsUrl = None,
    rest_url: RestUrl = None,
    minutes: Annotated[
        float | None,
        typer.Option(min=0.001, max=MOST_MINUTES, help="default: until stopped"),
    ] = None,
    rotate_mb: Annotated[
        float | None,
        typer.Option(min=0.001, max=1e9, help="start a new file at this size"),
    ] = None,
    rotate_minutes: Annotated[
        float | None,
        typer.Option(min=0.001, max=MOST_MINUTES, help="start a new file after this time"),
    ] = None,
) -> None:
    """Record a venue's live ticks to a file.

    The file can be replayed at any time, even after a kill.
    """
    from volsvc.commands.feeds import RecordOptions, record_feed
    from volsvc.sources.recorder import RotationLimits

    settings = settings_of(
        config,
        source__kind=source,
        source__symbols=symbols,
        source__ws_url=ws_url,
        source__rest_url=rest_url,
    )
    # A megabyte has 10^6 bytes here, as in the names of disks.
    limits = RotationLimits(
        round(rotate_mb * 1e6) if rotate_mb else None,
        rotate_minutes * 60 if rotate_minutes else None,
    )
    run_until_signal(lambda stop: record_feed(settings, RecordOptions(out, minutes, limits), stop))


@feeds.command()
def download(
    start: Annotated[str, typer.Option(help="RFC 3339 time, inclusive")],
    end: Annotated[str, typer.Option(help="RFC 3339 time, exclusive")],
    out: Annotated[Path, typer.Option(help="file to write; its extension selects the format")],
    config: ConfigFile = None,
    symbols: Symbols = None,
    kind: Annotated[Literal["trades", "candles"], typer.Option(help="what to download")] = "trades",
    rest_url: RestUrl = None,
) -> None:
    """Download historical trades or candles from Coinbase.

    To resume after an interruption, run the same command again.
    """
    from volsvc.commands.feeds import DownloadOptions, download_history

    settings = settings_of(config, source__symbols=symbols, source__rest_url=rest_url)
    options = DownloadOptions(kind, settings.source.symbols, start, end, out)
    run_until_signal(lambda stop: download_history(settings, options, stop))


@feeds.command()
def simulate(
    config: ConfigFile = None,
    file: Annotated[
        Path | None, typer.Option(help="recording to play; default: generated ticks")
    ] = None,
    script: Annotated[Path | None, typer.Option(help="faults to inject (TOML or JSON)")] = None,
    symbols: Symbols = None,
    speed: Speed = None,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0: any free port")] = 8765,
) -> None:
    """Run a simulated exchange with scripted faults.

    It has the WebSocket and REST interfaces of Coinbase.
    """
    from volsvc.commands.feeds import SimulateOptions, simulate_exchange
    from volsvc.sources.recordings.tables.pipes import seekable

    settings = settings_of(config, source__symbols=symbols, replay__speed=speed)
    with seekable([file] if file else []) as files:
        options = SimulateOptions(files[0] if files else None, script, port)
        run_until_signal(lambda stop: simulate_exchange(settings, options, stop))
