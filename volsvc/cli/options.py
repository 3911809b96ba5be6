"""Options, settings and signal handling that several commands share."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from volsvc.config.settings import Settings, load_settings
from volsvc.telemetry.logs import configure_logs

ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", help="TOML file; see config.toml")
]
Url = Annotated[
    str | None, typer.Option(help="address of a running daemon; default: that of the config")
]
Speed = Annotated[str | None, typer.Option(help="a factor such as 1 or 10, real-time or max")]
Symbol = Annotated[str | None, typer.Option(help="symbol of a file that has no symbol column")]
Columns = Annotated[
    str | None,
    typer.Option(help="names of the columns of a file that has none, such as time,price,size"),
]
TimeFormat = Annotated[
    str | None, typer.Option(help="form of its times, such as '%d/%m/%Y %H:%M:%S'; UTC")
]
# Without a metavar typer shows the type as `<list[Path]>`.
Data = Annotated[
    list[Path],
    typer.Option(
        "--data",
        metavar="<path>",
        help="recording of bars or ticks, or a folder of them; - for standard input",
    ),
]
Symbols = Annotated[str | None, typer.Option(help="comma-separated, such as BTC-USD,ETH-USD")]
WsUrl = Annotated[str | None, typer.Option(help="WebSocket to use instead of the venue's")]
RestUrl = Annotated[str | None, typer.Option(help="REST API to use instead of the venue's")]
# A bound for durations, which also refuses infinity: ten years in minutes.
MOST_MINUTES: Final = 5_256_000


def settings_of(config: Path | None, **overrides: Any) -> Settings:
    """Load the settings, overridden by options, and configure logging; raises SettingsError.

    The name `section__key` overrides `section.key`; None leaves the key as it is.
    """
    layers: dict[str, dict[str, Any]] = {}
    for name, value in overrides.items():
        # An option that was not given must not hide the environment or the file.
        if value is not None:
            section, key = name.split("__")
            layers.setdefault(section, {})[key] = value
    settings = load_settings(config, layers)
    configure_logs(settings.service.log_level, settings.service.log_format)
    return settings


def quiet_settings_of(config: Path | None, log_level: str = "warning") -> Settings:
    """Load the settings of a command that prints a result; only warnings are logged by default."""
    settings = load_settings(config)
    configure_logs(log_level, "console")
    return settings


def run_until_signal(work: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Run `work` with an event that the first SIGINT or SIGTERM sets; the second exits at once."""
    # Imported here: the commands without an event loop start faster without it.
    import uvloop

    async def run_watched() -> None:
        stop = asyncio.Event()

        def on_signal(number: int) -> None:
            # Not sys.exit, which would wait for the threads that hold up the stop.
            if stop.is_set():
                os._exit(128 + number)
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, on_signal, number)
        await work(stop)

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run_watched())
    except BaseExceptionGroup as group:
        # A group holds its errors in the order in which they occurred: the first is the cause.
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None
