"""The command group `volsvc models`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from volsvc.cli.options import ConfigFile, Url, quiet_settings_of
from volsvc.config.settings import SettingsError

models = typer.Typer(
    name="models",
    help="Show or change the active model.",
    no_args_is_help=True,
)

KeyFile = Annotated[Path | None, typer.Option(help="file with a key of scope admin")]


@models.command("list")
def list_models(config: ConfigFile = None, url: Url = None, key_file: KeyFile = None) -> None:
    """List the versions in the registry.

    With --url, the models that a daemon serves and holds.
    """
    from volsvc.commands.models import client_of, show_registry, show_state

    settings = quiet_settings_of(config)
    if url is None:
        show_registry(settings)
    else:
        with client_of(settings, url, key_file) as client:
            show_state(client.models())


@models.command()
def activate(
    variant: Annotated[str, typer.Argument(help="baseline or ml")],
    version: Annotated[str | None, typer.Option(help="version of ml: a number or latest")] = None,
    config: ConfigFile = None,
    url: Url = None,
    key_file: KeyFile = None,
) -> None:
    """Switch a daemon to a variant or a version."""
    from volsvc.commands.models import client_of, show_state

    with client_of(quiet_settings_of(config), url, key_file) as client:
        show_state(client.activate(variant, version=version))


@models.command()
def rollback(config: ConfigFile = None, url: Url = None, key_file: KeyFile = None) -> None:
    """Switch a daemon back to its previous model."""
    from volsvc.commands.models import client_of, show_state

    with client_of(quiet_settings_of(config), url, key_file) as client:
        show_state(client.rollback())


@models.command()
def promote(
    version: Annotated[int, typer.Argument(min=1, help="version number in the registry")],
    config: ConfigFile = None,
) -> None:
    """Point the alias ml at a version in the registry.

    Every daemon that follows the alias loads that version.
    """
    from volsvc.commands.models import promote as promote_version

    promote_version(quiet_settings_of(config), str(version))


@models.command()
def history(
    at: Annotated[
        str | None, typer.Option(help="show the model that served at this time (RFC 3339)")
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=1000, help="number of entries to show, newest first")
    ] = 20,
    verify: Annotated[
        bool, typer.Option(help="check the hash chain of the audit log on disk")
    ] = False,
    config: ConfigFile = None,
    url: Url = None,
    key_file: KeyFile = None,
) -> None:
    """Show which models served, when and why.

    From the audit log under service.data_dir, or from a daemon with --url.
    """
    from volsvc.commands import models as commands

    settings = quiet_settings_of(config)
    # The chain is checked on the file: a daemon answers with a part of it only.
    if verify:
        if url is not None:
            raise SettingsError(
                "--verify: cannot be used with --url; it checks the log under service.data_dir"
            )
        commands.verify_audit_log(settings)
        return
    if url is not None:
        with commands.client_of(settings, url, key_file) as client:
            changes = commands.remote_history(client, at, limit)
    else:
        changes = commands.local_history(settings, at, limit)
    commands.show_history(changes)
