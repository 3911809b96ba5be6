"""What `volsvc models …` does: against a running daemon, the registry, or the journal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from volsvc.client import Client, ClientError, ModelsResponse, Retries
from volsvc.config.settings import Settings, SettingsError
from volsvc.domain import format_time, parse_time
from volsvc.serving.audit_log import entries, served_at, verify
from volsvc.serving.factory import audit_log_folder, build_remote
from volsvc.serving.mlflow_rest import Entry, Remote
from volsvc.serving.publish_packaged import tracking_uri

TIMEOUT_S: Final = 15.0


def client_of(settings: Settings, url: str | None, key_file: Path | None) -> Client:
    """A client of the daemon at `url` or where the settings say, which tries each call once.

    `key_file` holds the key, if the daemon asks for one. Raises SettingsError.
    """
    try:
        key = None if key_file is None else key_file.read_text().strip()
    except OSError as error:
        raise SettingsError(f"--key-file = {key_file}: {error.strerror}") from error
    try:
        return Client(
            daemon_url(settings, url), key, timeout_s=TIMEOUT_S, retries=Retries(attempts=1)
        )
    except ClientError as error:
        argument, _, fault = str(error).partition(": ")
        option = {"url": "--url", "key": "--key-file"}[argument]
        raise SettingsError(f"{option}: {fault}") from error


def daemon_url(settings: Settings, url: str | None) -> str:
    """Where a daemon is: as given, or by its settings; raises SettingsError for any port."""
    if url is None and settings.http.port == 0:
        raise SettingsError("--url: say where the daemon is; http.port = 0 is any port")
    host = settings.http.host
    return url or f"http://{f'[{host}]' if ':' in host else host}:{settings.http.port}"


def show_state(state: ModelsResponse) -> None:
    """What serves, as a few lines."""
    serving = state.serving
    print(f"serving   {serving.model}  {serving.digest[:12]}")
    if serving.fallback:
        print(f"fallback  {serving.requested} was asked for: {serving.reason}")
    for held in state.variants:
        if held.state != "serving":
            print(f"{held.state:9} {held.variant}-{held.version}  {held.digest[:12]}")
    print(f"previous  {state.previous or 'none'}")


def show_registry(settings: Settings) -> None:
    """The versions in the registry, newest first, with their aliases."""
    aliases, found = asyncio.run(_look(build_remote(settings)))
    if not found:
        print(f"{settings.model.name} has no version in {tracking_uri(settings)}")
    for entry in found:
        names = [alias for alias, version in aliases.items() if version == entry.version]
        mark = f"  <- {', '.join(sorted(names))}" if names else ""
        print(f"{entry.version:>4}  {entry.variant or '?':8}  {(entry.digest or '?')[:12]}{mark}")


async def _look(remote: Remote) -> tuple[Mapping[str, str], Sequence[Entry]]:
    try:
        return await remote.aliases(), await remote.entries()
    finally:
        await remote.close()


def promote(settings: Settings, version: str) -> None:
    """Point the alias `ml` at a version; every daemon that follows it loads it."""
    from volsvc.serving.mlflow_registry import Registry

    Registry(tracking_uri(settings), settings.model.name).promote(version)
    print(f"alias ml of {settings.model.name} -> version {version}")


def show_history(found: Sequence[Mapping[str, Any]]) -> None:
    """Entries of a journal, one a line."""
    for entry in found:
        reason = f"  {entry['reason']}" if entry["reason"] else ""
        print(
            f"{entry['seq']:>5}  {entry['time']}  {entry['kind']:8} {entry['trigger']:8} "
            f"{entry['model']}{reason}"
        )


def local_history(settings: Settings, at: str | None, limit: int) -> list[Mapping[str, Any]]:
    """The newest entries of the journal under data_dir, newest first; or what served at a time."""
    folder = audit_log_folder(settings)
    if at is None:
        return list(reversed(list(entries(folder))[-limit:]))
    try:
        time_ns = parse_time(at)
    except ValueError as error:
        raise SettingsError(f"--at: {error}") from error
    served = served_at(folder, time_ns) if time_ns <= time.time_ns() else None
    if served is None:
        print(f"nothing is known to have served at {format_time(time_ns)}")
    return [served] if served else []


def remote_history(client: Client, at: str | None, limit: int) -> list[Mapping[str, Any]]:
    """The same from a running daemon."""
    answer = client.model_history(at=at, limit=limit).model_dump()
    if at is None:
        return list(answer["entries"])
    return [answer["served"]] if answer["served"] else []


def verify_audit_log(settings: Settings) -> None:
    """Check the chain; raises AuditLogError with the place where it breaks."""
    first, last = verify(audit_log_folder(settings))
    print(f"the journal is whole: entries {first} to {last}" if last else "the journal is empty")
