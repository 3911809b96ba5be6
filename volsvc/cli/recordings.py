"""The commands that read and write recordings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import typer

from volsvc.cli.options import (
    MOST_MINUTES,
    Columns,
    ConfigFile,
    Data,
    Speed,
    Symbol,
    TimeFormat,
    quiet_settings_of,
    run_until_signal,
    settings_of,
)
from volsvc.commands.arguments import split_names
from volsvc.telemetry.logs import configure_logs

# Each command imports its work itself: help and usage errors need not wait for numpy.
recordings = typer.Typer()

Files = Annotated[
    list[Path],
    typer.Argument(
        metavar="<path>...",
        help="files of one recording, or a folder of them; - for standard input",
    ),
]
Summary = Annotated[
    Literal["text", "json"],
    typer.Option(help="what was read: a line on standard error, or JSON on standard output"),
]


def _of_rows(
    symbol: str | None, columns: str | None, time_format: str | None
) -> Mapping[str, str | None]:
    """Return the settings of rows that options override."""
    return {
        "source__default_symbol": symbol,
        "source__columns": columns,
        "source__time_format": time_format,
    }


@recordings.command()
def inspect(
    files: Files,
    config: ConfigFile = None,
    symbol: Symbol = None,
    columns: Columns = None,
    time_format: TimeFormat = None,
    summary: Summary = "text",
) -> None:
    """Show how recordings of ticks or bars are understood.

    Prints format, columns, times, symbols, the rows by what becomes of them, and the first ones.
    """
    from volsvc.commands.reading import inspect_files
    from volsvc.compiled.loading import load_numba
    from volsvc.sources.recordings.tables.pipes import seekable

    settings = settings_of(config, **_of_rows(symbol, columns, time_format))
    load_numba()
    with seekable(files) as whole:
        inspect_files(settings, whole, summary)


@recordings.command()
def replay(
    files: Files,
    config: ConfigFile = None,
    speed: Speed = None,
    symbol: Symbol = None,
    columns: Columns = None,
    time_format: TimeFormat = None,
    summary: Summary = "text",
) -> None:
    """Publish a recording to Kafka, then exit."""
    from volsvc.commands.replaying import replay_files

    # Always to Kafka: a bus in memory would end with this process.
    settings = settings_of(
        config,
        bus__transport="kafka",
        service__roles="producer",
        source__kind="replay",
        source__path=str(files[0]),
        **_of_rows(symbol, columns, time_format),
        replay__speed=speed,
    )
    run_until_signal(lambda stop: replay_files(settings, files, stop, summary))


@recordings.command()
def generate(
    out: Annotated[Path, typer.Option(help="file to write; its extension selects the format")],
    minutes: Annotated[
        float, typer.Option(min=0.001, max=MOST_MINUTES, help="event time to cover")
    ] = 10.0,
    seed: Annotated[int, typer.Option(min=0, help="the same seed gives the same ticks")] = 7,
    symbols: Annotated[str, typer.Option(help="comma-separated")] = "BTC-USD,ETH-USD,SOL-USD",
    start: Annotated[
        str, typer.Option(help="RFC 3339 time of the first tick")
    ] = "2026-01-05T00:00:00Z",
) -> None:
    """Write sample ticks with a known true volatility."""
    from volsvc.commands.files import generate_file

    configure_logs("info", "console")
    names = split_names(symbols)
    generate_file(out, minutes=minutes, seed=seed, symbols=names, start=start)


@recordings.command()
def features(
    files: Files,
    out: Annotated[Path, typer.Option(help="file to write; its extension selects the format")],
    config: ConfigFile = None,
    symbol: Symbol = None,
    columns: Columns = None,
    time_format: TimeFormat = None,
    window_size: Annotated[int | None, typer.Option(help="number of prices in the window")] = None,
    digests: Annotated[
        Path | None, typer.Option(help="also write the digest of each minute (.ndjson)")
    ] = None,
    summary: Summary = "text",
) -> None:
    """Write the features of a recording.

    One row per accepted tick, equal to those of the daemon to the last bit.
    """
    from volsvc.commands.files import features_file
    from volsvc.compiled.loading import load_numba
    from volsvc.sources.recordings.tables.pipes import seekable

    settings = settings_of(
        config, **_of_rows(symbol, columns, time_format), features__window_size=window_size
    )
    load_numba()
    if digests is None:
        features_file(settings, files, out, summary)
        return
    from volsvc.commands.digests import digests_file

    # Two passes over the files: digests cover forecasts, which the features do not need.
    with seekable(files) as whole:
        features_file(settings, whole, out, summary)
        digests_file(settings, whole, digests)


@recordings.command()
def forecast(
    data: Data,
    out: Annotated[Path, typer.Option(help="file to write; its extension selects the format")],
    config: ConfigFile = None,
    symbol: Symbol = None,
    columns: Columns = None,
    time_format: TimeFormat = None,
    every: Annotated[int, typer.Option(min=1, help="seconds of event time between rows")] = 60,
    horizon: Annotated[
        list[float] | None,
        typer.Option(
            metavar="<float>",
            min=1,
            max=86_400,
            help="horizon in seconds; repeatable; default: 60 to 3600",
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(help="ml (packaged), baseline, registry, registry:VERSION, or an artefact"),
    ] = "ml",
    summary: Summary = "text",
) -> None:
    """Write the forecasts of recordings.

    Each is made from the data before its time only, as the service would have made it.
    """
    from volsvc.commands.forecasting import ForecastOptions, forecast_file
    from volsvc.compiled.loading import load_numba
    from volsvc.models import HORIZONS_S
    from volsvc.sources.recordings.tables.pipes import seekable

    settings = settings_of(config, **_of_rows(symbol, columns, time_format))
    load_numba()
    horizons = tuple(horizon or HORIZONS_S)
    with seekable(data) as files:
        options = ForecastOptions(files, out, every, horizons, model, summary)
        forecast_file(settings, options)


@recordings.command()
def export(
    symbol: Annotated[str, typer.Option(help="symbol, such as BTC-USD")],
    out: Annotated[Path, typer.Option(help="CSV or NDJSON, .gz and .zst too, or Parquet")],
    config: ConfigFile = None,
    start: Annotated[str | None, typer.Option(help="date or time; default: the oldest")] = None,
    end: Annotated[str | None, typer.Option(help="date or time; default: the newest")] = None,
    what: Annotated[
        Literal["history", "outcomes"],
        typer.Option(help="minutes with their forecasts, or matured forecasts with their losses"),
    ] = "history",
    feed: Annotated[
        str | None, typer.Option(help="feed of the symbol, where several have it")
    ] = None,
) -> None:
    """Write the past of a symbol from the store to a file.

    The daemon that keeps the store may run or not.
    """
    from volsvc.commands.export import ExportOptions
    from volsvc.commands.export import export as write

    write(quiet_settings_of(config), ExportOptions(symbol, start, end, out, what, feed))
