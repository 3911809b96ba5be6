"""The command line."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import Abort, TyperException

import volsvc
from volsvc.cli import feeds as feed_cli
from volsvc.cli.models import models
from volsvc.cli.operations import watch
from volsvc.cli.options import (
    ConfigFile,
    RestUrl,
    Speed,
    Symbol,
    Symbols,
    WsUrl,
    run_until_signal,
    settings_of,
)
from volsvc.config.settings import Settings, SettingsError
from volsvc.domain import StartupError, VolsvcError
from volsvc.telemetry.logs import configure_logs, get_logger

log = get_logger(__name__)

cli = typer.Typer(
    name="volsvc",
    help="Real-time volatility forecasts for crypto markets.",
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
cli.add_typer(models)
cli.add_typer(feed_cli.cli)
cli.add_typer(watch)


def main() -> None:
    """Run a command: exit code 0, 2 for a usage or configuration error, 1 for a failure."""
    try:
        code = cli(sys.argv[1:] or ["--help"], standalone_mode=False)
    except TyperException as error:
        _fail(f"{error.format_message()} (see volsvc --help)", 2)
    except SettingsError as error:
        _fail(str(error), 2)
    except VolsvcError as error:
        _fail(str(error), 1)
    except (KeyboardInterrupt, Abort):
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output has gone; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(text: str, code: int) -> None:
    print(f"volsvc: error: {text}", file=sys.stderr)
    sys.exit(code)


@cli.command()
def run(
    config: ConfigFile = None,
    roles: Annotated[str | None, typer.Option(help="producer,consumer,api or some of them")] = None,
    source: Annotated[str | None, typer.Option(help="replay, coinbase, kraken or none")] = None,
    path: Annotated[str | None, typer.Option(help="recording to replay")] = None,
    symbols: Symbols = None,
    ws_url: WsUrl = None,
    rest_url: RestUrl = None,
    transport: Annotated[str | None, typer.Option(help="memory or kafka")] = None,
    speed: Speed = None,
    port: Annotated[int | None, typer.Option(help="port of the HTTP server")] = None,
) -> None:
    """Run the daemon."""
    load = partial(
        settings_of,
        config,
        service__roles=roles,
        source__kind=source,
        source__path=path,
        source__symbols=symbols,
        source__ws_url=ws_url,
        source__rest_url=rest_url,
        bus__transport=transport,
        replay__speed=speed,
        http__port=port,
    )
    settings = load()
    run_until_signal(lambda stop: _serve(settings, load, stop))


async def _serve(settings: Settings, load: Callable[[], Settings], stop: asyncio.Event) -> None:
    from volsvc.daemon.daemon import Daemon
    from volsvc.daemon.gc_tuning import tune_gc

    daemon = Daemon(settings)

    def reload() -> None:
        try:
            daemon.reload(load())
        except (SettingsError, StartupError) as error:
            log.warning("reload_refused", error=str(error))

    def ready(url: str) -> None:
        print(f"volsvc is ready{f' at {url}/' if url else ''}", flush=True)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)
    sparing = asyncio.create_task(tune_gc(lambda: len(daemon.table)))
    try:
        await daemon.run(stop, ready)
    finally:
        sparing.cancel()


@cli.command()
def replay(
    file: Annotated[Path, typer.Argument(help="CSV, NDJSON or Parquet recording")],
    config: ConfigFile = None,
    speed: Speed = None,
    symbol: Symbol = None,
) -> None:
    """Publish a recording to Kafka, then exit."""
    from volsvc.commands.files import replay_file

    settings = settings_of(
        config,
        bus__transport="kafka",
        service__roles="producer",
        source__kind="replay",
        source__path=str(file),
        source__default_symbol=symbol,
        replay__speed=speed,
    )
    run_until_signal(lambda stop: replay_file(settings, file, stop))


@cli.command()
def generate(
    out: Annotated[Path, typer.Option(help="file to write; the extension says the format")],
    minutes: Annotated[float, typer.Option(min=0.001, help="event time to cover")] = 10.0,
    seed: Annotated[int, typer.Option(min=0, help="the same seed gives the same ticks")] = 7,
    symbols: Annotated[str, typer.Option(help="comma-separated")] = "BTC-USD,ETH-USD,SOL-USD",
    start: Annotated[str, typer.Option(help="RFC 3339 time of the start")] = "2026-01-05T00:00:00Z",
) -> None:
    """Write sample ticks with a known true volatility."""
    from volsvc.commands.files import generate_file

    configure_logs("info", "console")
    names = tuple(name.strip() for name in symbols.split(",") if name.strip())
    generate_file(out, minutes=minutes, seed=seed, symbols=names, start=start)


@cli.command()
def features(
    file: Annotated[Path, typer.Argument(help="CSV, NDJSON or Parquet recording")],
    out: Annotated[Path, typer.Option(help="file to write; the extension says the format")],
    config: ConfigFile = None,
    symbol: Symbol = None,
    window_size: Annotated[int | None, typer.Option(help="prices in the window")] = None,
    digests: Annotated[
        Path | None, typer.Option(help="also write the digest of each minute (.ndjson)")
    ] = None,
) -> None:
    """Write the features of a recording.

    One row per accepted tick, as the daemon has them.
    """
    from volsvc.commands.digests import digests_file
    from volsvc.commands.files import features_file

    settings = settings_of(config, source__default_symbol=symbol, features__window_size=window_size)
    features_file(settings, file, out)
    if digests is not None:
        digests_file(settings, file, digests)


@cli.command()
def verify(
    first: Annotated[Path, typer.Argument(help="digests, or records of ticks.features (NDJSON)")],
    second: Annotated[Path, typer.Argument(help="the same of another run")],
) -> int:
    """Name the first window in which two runs differ."""
    from volsvc.commands.digests import verify_files

    verdict = verify_files(first, second)
    for difference in verdict.differences:
        print(difference)
    if not verdict.differences:
        print(f"identical: {verdict.symbols} symbols, {verdict.windows} windows")
    return 1 if verdict.differences else 0


Data = Annotated[
    list[Path],
    typer.Option("--data", metavar="<path>", help="recording of bars or ticks, or a folder"),
]


@cli.command()
def forecast(
    data: Data,
    out: Annotated[Path, typer.Option(help="file to write; the extension says the format")],
    config: ConfigFile = None,
    every: Annotated[int, typer.Option(min=1, help="seconds of event time between rows")] = 60,
    horizon: Annotated[
        list[float] | None,
        typer.Option(
            metavar="<float>",
            min=1,
            max=86_400,
            help="seconds ahead; repeatable; default: 60 to 3600",
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(help="ml (packaged), baseline, registry, registry:VERSION, or an artefact"),
    ] = "ml",
) -> None:
    """Write the forecasts of recordings.

    Of bars or ticks, each from what was known then.
    """
    from volsvc.commands.files import ForecastOptions, forecast_file
    from volsvc.models import HORIZONS_S

    horizons = tuple(horizon or HORIZONS_S)
    forecast_file(settings_of(config), ForecastOptions(data, out, every, horizons, model))


@cli.command()
def train(
    data: Data,
    config: ConfigFile = None,
    until: Annotated[str | None, typer.Option(help="date or time; later data is not used")] = None,
    out: Annotated[Path | None, typer.Option(help="artefact to write (.npz)")] = None,
    model_version: Annotated[str, typer.Option(help="version that the artefact names")] = "1",
    compare: Annotated[
        Path | None, typer.Option(help="artefact to compare the new one with")
    ] = None,
    register: Annotated[bool, typer.Option(help="log to MLflow and set the alias ml")] = True,
) -> None:
    """Fit the model on recordings.

    Its artefact is written, logged and registered.
    """
    from volsvc.commands.training import TrainOptions, train_model

    settings = settings_of(config)
    target = out or settings.service.data_dir / "models" / f"ml-{model_version}.npz"
    train_model(settings, TrainOptions(data, until, target, model_version, compare, register))


@cli.command()
def evaluate(
    data: Data,
    start: Annotated[str, typer.Option(help="date or time of the first forecast")],
    config: ConfigFile = None,
    end: Annotated[str | None, typer.Option(help="date or time; default: end of data")] = None,
    refit_days: Annotated[int, typer.Option(min=1, help="days between refits")] = 91,
    model: Annotated[Path | None, typer.Option(help="artefact to use unchanged")] = None,
    leave_one_out: Annotated[bool, typer.Option(help="also fit without each symbol")] = False,
    anchors: Annotated[str, typer.Option(help="comma-separated; default: all")] = "",
    title: Annotated[str, typer.Option(help="of the report")] = "Evaluation",
    out: Annotated[Path, typer.Option(help="folder of the report")] = Path("report"),
) -> None:
    """Set our forecasts against the field's models.

    Walks forward over recordings, and writes a report.
    """
    from volsvc.commands.training import ANCHOR_NAMES, EvaluateOptions, evaluate_models
    from volsvc.training.anchors import CASCADE_HARS

    names = tuple(name.strip() for name in anchors.split(",") if name.strip()) or ANCHOR_NAMES
    if unknown := [name for name in names if name not in ANCHOR_NAMES]:
        known = ", ".join(ANCHOR_NAMES)
        raise SettingsError(f"--anchors: {unknown[0]!r} is none of {known}")
    if "EWMA" not in names:
        raise SettingsError("--anchors: EWMA cannot be left out; every figure is relative to it")
    if not set(names) & set(CASCADE_HARS):
        raise SettingsError(f"--anchors: keep one of {', '.join(CASCADE_HARS)} to compare with")
    command = shlex.join(["volsvc", *(Path(a).name if "/" in a else a for a in sys.argv[1:])])
    options = EvaluateOptions(
        data, start, end, refit_days, model, leave_one_out, names, title, out, command
    )
    evaluate_models(settings_of(config), options)


keys = typer.Typer(rich_markup_mode=None)
cli.add_typer(keys, name="keys")


@keys.callback()
def keys_group() -> None:
    """Make API keys."""


@keys.command("new")
def new_api_key(
    scopes: Annotated[str, typer.Option(help="read, predict, admin, or some with commas")],
    name: Annotated[str, typer.Option(help="who will use it")] = "",
    expires_days: Annotated[
        float | None, typer.Option(min=0.001, max=36_500, help="days until it ends")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="keys file to add it to")] = None,
) -> None:
    """Make an API key.

    It is shown once; the service knows it by its SHA-256.
    """
    from volsvc.web.auth.api_keys import add_to_file, new_key

    asked = tuple(scope.strip() for scope in scopes.split(",") if scope.strip())
    key, entry = new_key(name or f"key-{os.urandom(3).hex()}", asked, expires_days)
    if file is not None:
        add_to_file(file, entry)
    print(f"key: {key}")
    if file is None:
        print(f"\nAdd to the file that auth.keys_file names, then SIGHUP the service:\n\n{entry}")
    else:
        print(f"Its SHA-256 is in {file}; SIGHUP the service to read it.")


@cli.command()
def openapi() -> None:
    """Print the OpenAPI document."""
    from volsvc.web.openapi.routes import document

    print(json.dumps(document(), indent=2))


@cli.command("config")
def show_config(config: ConfigFile = None) -> None:
    """Print the resolved settings, secrets hidden."""
    print(json.dumps(settings_of(config).model_dump(mode="json"), indent=2))


@cli.command()
def version() -> None:
    """Print the version."""
    print(f"volsvc {volsvc.__version__}")
