"""The command `volsvc`: its commands, and the exit code of each outcome."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import os
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import Abort, TyperException

import volsvc
from volsvc.cli.feeds import feeds
from volsvc.cli.models import models
from volsvc.cli.operations import operations
from volsvc.cli.options import (
    ConfigFile,
    Data,
    RestUrl,
    Speed,
    Symbols,
    WsUrl,
    run_until_signal,
    settings_of,
)
from volsvc.cli.recordings import recordings
from volsvc.config.live import LIVE_KINDS
from volsvc.config.settings import SettingsError
from volsvc.domain import VolsvcError
from volsvc.domain.extras import EXTRAS, needs_extra
from volsvc.domain.texts import one_line

# New objects between collections of garbage; the default is 700. The daemon has its own once ready.
STARTING = 50_000
VENUES = ", ".join(sorted(LIVE_KINDS))
Source = Annotated[str | None, typer.Option(help=f"replay, {VENUES} or none")]

# Each command imports its work itself: help and usage errors need not wait for numpy and aiohttp.
cli = typer.Typer(
    name="volsvc",
    help="Real-time volatility forecasts for crypto markets.",
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
cli.add_typer(recordings)
cli.add_typer(models)
cli.add_typer(feeds)
cli.add_typer(operations)


def main() -> None:
    """Run a command; exit with 0, or 2 for a usage or configuration error, or 1 for a failure."""
    _prepare()
    # Not standalone: typer would print usage errors on several lines, and exit by itself. A number
    # that a command returns is its exit code.
    try:
        code = cli(sys.argv[1:] or ["--help"], standalone_mode=False)
    except TyperException as error:
        _fail(f"{error.format_message()} (see volsvc --help)", 2)
    except SettingsError as error:
        _fail(str(error), 2)
    except VolsvcError as error:
        _fail(str(error), 1)
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in EXTRAS:
            raise
        _fail(needs_extra("this command", library), 1)
    except (KeyboardInterrupt, Abort):
        # By convention 128 plus the number of SIGINT.
        sys.exit(130)
    except BrokenPipeError:
        # The reader has closed the pipe. Without the redirection Python would fail again when it
        # flushes standard output at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


def _prepare() -> None:
    """Set what libraries read when they are imported, and make printing safe."""
    # OpenMP's and BLAS's threads spin while they wait for a processor that others use: fits took
    # fifty times as long. The variable is read when numpy and scikit-learn are imported, which
    # commands do later, and by child processes.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # A name of a file need not be valid Unicode, and printing it must not fail.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _fail(text: str, code: int) -> None:
    print(f"volsvc: error: {one_line(text)}", file=sys.stderr)
    sys.exit(code)


@cli.command()
def run(
    config: ConfigFile = None,
    roles: Annotated[str | None, typer.Option(help="one or more of producer,consumer,api")] = None,
    source: Source = None,
    path: Annotated[
        str | None, typer.Option(help="recording to replay; - for standard input")
    ] = None,
    symbols: Symbols = None,
    history: Annotated[
        str | None, typer.Option(help="file or folder of bars or ticks from before the first tick")
    ] = None,
    ws_url: WsUrl = None,
    rest_url: RestUrl = None,
    transport: Annotated[str | None, typer.Option(help="memory or kafka")] = None,
    speed: Speed = None,
    port: Annotated[int | None, typer.Option(help="port of the HTTP server")] = None,
    fresh: Annotated[
        bool | None, typer.Option("--fresh", help="begin anew, whatever an earlier run has left")
    ] = None,
) -> None:
    """Run the daemon."""
    # Called again at SIGHUP, when the options still override the file.
    load = partial(
        settings_of,
        config,
        service__roles=roles,
        source__kind=source,
        source__path=path,
        source__symbols=symbols,
        warmup__history=history,
        source__ws_url=ws_url,
        source__rest_url=rest_url,
        bus__transport=transport,
        replay__speed=speed,
        http__port=port,
        store__fresh=fresh,
    )
    settings = load()

    async def work(stop: asyncio.Event) -> None:
        # The start makes objects that stay: collections among them take a tenth of it.
        gc.set_threshold(STARTING)
        # Imported under the handlers of signals: a stop in that half second is a stop in order.
        from volsvc.commands.run import run_daemon

        await run_daemon(settings, load, stop)

    run_until_signal(work)


@cli.command()
def verify(
    first: Annotated[Path, typer.Argument(help="digests, or records of ticks.features (NDJSON)")],
    second: Annotated[Path, typer.Argument(help="the same of another run")],
) -> int:
    """Compare two runs by their digests.

    Names the first window that differs. The exit code is 0 if the runs are identical, else 1.
    """
    from volsvc.commands.digests import verify_files

    return 0 if verify_files(first, second) else 1


@cli.command()
def train(
    data: Data,
    config: ConfigFile = None,
    until: Annotated[str | None, typer.Option(help="date or time; later data are not used")] = None,
    out: Annotated[Path | None, typer.Option(help="artefact to write (.npz)")] = None,
    model_version: Annotated[str, typer.Option(help="version written into the artefact")] = "1",
    compare: Annotated[
        Path | None, typer.Option(help="artefact to compare the new one with")
    ] = None,
    register: Annotated[bool, typer.Option(help="log to MLflow, as a candidate")] = True,
) -> None:
    """Fit the model on recordings.

    Writes its artefact, says how it compares with the champion, and registers it in MLflow as a
    candidate. `volsvc models promote` makes it the champion.
    """
    from volsvc.commands.training import TrainOptions, train_model
    from volsvc.sources.recordings.tables.pipes import seekable

    settings = settings_of(config)
    target = out or settings.service.data_dir / "models" / f"ml-{model_version}.npz"
    with seekable(data) as files:
        options = TrainOptions(files, until, target, model_version, compare, register)
        train_model(settings, options)


@cli.command()
def evaluate(
    data: Data,
    config: ConfigFile = None,
    start: Annotated[str | None, typer.Option(help="date or time of the first forecast")] = None,
    after_days: Annotated[
        int | None,
        typer.Option(min=1, help="days of each recording before its first forecast; with --model"),
    ] = None,
    end: Annotated[str | None, typer.Option(help="date or time; default: end of the data")] = None,
    refit_days: Annotated[int, typer.Option(min=1, help="days between refits")] = 91,
    model: Annotated[Path | None, typer.Option(help="artefact to evaluate without refits")] = None,
    leave_one_out: Annotated[
        bool, typer.Option(help="also score each symbol by a fit on the others")
    ] = False,
    anchors: Annotated[
        str, typer.Option(help="standard models, comma-separated; default: all")
    ] = "",
    title: Annotated[str, typer.Option(help="title of the report")] = "Evaluation",
    out: Annotated[Path, typer.Option(help="folder to write the report to")] = Path("report"),
) -> None:
    """Compare forecasts with standard models.

    Walks forward over recordings and writes a report.
    """
    from volsvc.commands.evaluation import EvaluateOptions, anchor_names, evaluate_models
    from volsvc.sources.recordings.tables.pipes import seekable

    names = anchor_names(anchors)
    # The report quotes the command: without the folders of this machine.
    command = shlex.join(["volsvc", *(Path(a).name if "/" in a else a for a in sys.argv[1:])])
    settings = settings_of(config)
    with seekable(data) as files:
        options = EvaluateOptions(
            files,
            start,
            after_days,
            end,
            refit_days,
            model,
            leave_one_out,
            names,
            title,
            out,
            command,
        )
        evaluate_models(settings, options)


keys = typer.Typer(rich_markup_mode=None)
cli.add_typer(keys, name="keys")


# Has no code: typer takes the help text of the group from it.
@keys.callback()
def keys_group() -> None:
    """Make API keys."""


@keys.command("new")
def new_api_key(
    scopes: Annotated[str, typer.Option(help="one or more of read,predict,admin")],
    name: Annotated[str, typer.Option(help="name for logs and quotas; default: a random one")] = "",
    expires_days: Annotated[
        float | None,
        typer.Option(min=0.001, max=36_500, help="days until it expires; default: never"),
    ] = None,
    file: Annotated[Path | None, typer.Option(help="file of keys to add its hash to")] = None,
) -> None:
    """Make an API key.

    It is printed once; only its SHA-256 is stored.
    """
    from volsvc.commands.keys import make_key

    make_key(scopes, name, expires_days, file)


@cli.command()
def openapi() -> None:
    """Print the OpenAPI document."""
    from volsvc.web.openapi.routes import document

    print(json.dumps(document(), indent=2))


@cli.command("config")
def show_config(config: ConfigFile = None) -> None:
    """Print the resolved settings without secrets."""
    print(json.dumps(settings_of(config).model_dump(mode="json"), indent=2))


@cli.command()
def version() -> None:
    """Print the version."""
    print(f"volsvc {volsvc.__version__}")
