"""What the commands of the command line share: options, settings, signals."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from volsvc.config.settings import Settings, load_settings
from volsvc.telemetry.logs import configure_logs

ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", help="TOML file; see config.toml")
]
Url = Annotated[str | None, typer.Option(help="of a running daemon; default: the config's address")]
Speed = Annotated[str | None, typer.Option(help="1, 10, any number, real-time or max")]
Symbol = Annotated[str | None, typer.Option(help="symbol of a file without a symbol column")]
Symbols = Annotated[str | None, typer.Option(help="comma-separated, such as BTC-USD,ETH-USD")]
WsUrl = Annotated[str | None, typer.Option(help="WebSocket in place of the venue's own")]
RestUrl = Annotated[str | None, typer.Option(help="REST API in place of the venue's own")]


def settings_of(config: Path | None, **overrides: Any) -> Settings:
    """Settings with what was given on the command line; `section__key` names the key."""
    layers: dict[str, dict[str, Any]] = {}
    for name, value in overrides.items():
        if value is not None:
            section, key = name.split("__")
            layers.setdefault(section, {})[key] = value
    settings = load_settings(config, layers)
    configure_logs(settings.service.log_level, settings.service.log_format)
    return settings


def run_until_signal(work: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Run `work` with an event that the first SIGINT or SIGTERM sets; the second quits at once."""
    import uvloop

    async def watched() -> None:
        stop = asyncio.Event()

        def on_signal(number: int) -> None:
            if stop.is_set():
                os._exit(128 + number)
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, on_signal, number)
        await work(stop)

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(watched())
    except BaseExceptionGroup as group:
        # A part failed for good; the first reason is the one that matters.
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None
