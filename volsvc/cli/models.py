"""The command group `volsvc models`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from volsvc.cli.options import ConfigFile, Url
from volsvc.config.settings import Settings, SettingsError, load_settings
from volsvc.telemetry.logs import configure_logs

models = typer.Typer(
    name="models",
    help="Say and see which model serves.",
    no_args_is_help=True,
)

KeyFile = Annotated[Path | None, typer.Option(help="file that holds a key with scope admin")]


def _settings(config: Path | None) -> Settings:
    settings = load_settings(config)
    configure_logs("warning", "console")
    return settings


@models.command("list")
def list_models(config: ConfigFile = None, url: Url = None, key_file: KeyFile = None) -> None:
    """Show the registry's versions.

    With --url, what a daemon serves and holds.
    """
    from volsvc.commands.models import client_of, show_registry, show_state

    settings = _settings(config)
    if url is None:
        show_registry(settings)
    else:
        with client_of(settings, url, key_file) as client:
            show_state(client.models())


@models.command()
def activate(
    variant: Annotated[str, typer.Argument(help="baseline or ml")],
    version: Annotated[str | None, typer.Option(help="of ml: a number, or latest")] = None,
    config: ConfigFile = None,
    url: Url = None,
    key_file: KeyFile = None,
) -> None:
    """Make a daemon serve a variant, or one version of it."""
    from volsvc.commands.models import client_of, show_state

    with client_of(_settings(config), url, key_file) as client:
        show_state(client.activate(variant, version=version))


@models.command()
def rollback(config: ConfigFile = None, url: Url = None, key_file: KeyFile = None) -> None:
    """Make a daemon serve what it served before."""
    from volsvc.commands.models import client_of, show_state

    with client_of(_settings(config), url, key_file) as client:
        show_state(client.rollback())


@models.command()
def promote(
    version: Annotated[int, typer.Argument(min=1, help="number in the registry")],
    config: ConfigFile = None,
) -> None:
    """Point the registry's alias ml at a version.

    Daemons that follow it load it.
    """
    from volsvc.commands.models import promote as promote_version

    promote_version(_settings(config), str(version))


@models.command()
def history(
    at: Annotated[str | None, typer.Option(help="a time: what served then?")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="newest entries to show")] = 20,
    verify: Annotated[bool, typer.Option(help="check the chain of the journal on disk")] = False,
    config: ConfigFile = None,
    url: Url = None,
    key_file: KeyFile = None,
) -> None:
    """Show what served when and why.

    From the journal under data_dir, or of a daemon with --url.
    """
    from volsvc.commands import models as admin

    settings = _settings(config)
    if verify:
        if url is not None:
            raise SettingsError("--verify: reads the journal under service.data_dir; leave --url")
        admin.verify_audit_log(settings)
        return
    if url is not None:
        with admin.client_of(settings, url, key_file) as client:
            found = admin.remote_history(client, at, limit)
    else:
        found = admin.local_history(settings, at, limit)
    admin.show_history(found)
