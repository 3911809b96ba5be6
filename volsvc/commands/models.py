"""`volsvc models`: show or change the active model of a daemon, the registry or the audit log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from volsvc.client import Client, ClientError, ModelsResponse, Retries
from volsvc.commands.arguments import time_argument
from volsvc.config.settings import Settings, SettingsError
from volsvc.domain import format_time
from volsvc.serving.audit_log import entries, served_at, verify
from volsvc.serving.factory import audit_log_folder, build_registry_client
from volsvc.serving.publish_packaged import tracking_uri
from volsvc.serving.registry_client import RegisteredVersion, RegistryClient

# Above `model.load_timeout_s` (8 s by default), within which a version is loaded or refused.
TIMEOUT_S: Final = 15.0


def client_of(settings: Settings, url: str | None, key_file: Path | None) -> Client:
    """Return a client, without retries, of the daemon at `url` or at the settings' address.

    `key_file` holds the key, if the daemon requires one. Raises SettingsError.
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
        # The client names its own parameter; the user knows the option.
        argument, _, fault = str(error).partition(": ")
        option = {"url": "--url", "key": "--key-file"}[argument]
        raise SettingsError(f"{option}: {fault}") from error


def daemon_url(settings: Settings, url: str | None) -> str:
    """Return `url`, or the address of the settings; raises SettingsError if they name no port."""
    if url is None and settings.http.port == 0:
        raise SettingsError("--url: is required, because http.port = 0 can be any port")
    # An IPv6 address stands in brackets in a URL.
    host = settings.http.host
    return url or f"http://{f'[{host}]' if ':' in host else host}:{settings.http.port}"


def show_state(state: ModelsResponse) -> None:
    """Print the active model, and the others that the daemon holds."""
    serving = state.serving
    print(f"serving   {serving.model}  {serving.digest[:12]}")
    if serving.fallback:
        print(f"fallback  {serving.requested} was requested: {serving.reason}")
    for held in state.variants:
        if held.state != "serving":
            print(f"{held.state:9} {held.variant}-{held.version}  {held.digest[:12]}")
    print(f"previous  {state.previous or 'none'}")


def show_registry(settings: Settings) -> None:
    """Print the versions in the registry, newest first, with their aliases."""
    aliases, versions = asyncio.run(_read_registry(build_registry_client(settings)))
    if not versions:
        print(f"{settings.model.name} has no version in {tracking_uri(settings)}")
    for entry in versions:
        names = [alias for alias, version in aliases.items() if version == entry.version]
        mark = f"  <- {', '.join(sorted(names))}" if names else ""
        print(f"{entry.version:>4}  {entry.variant or '?':8}  {(entry.digest or '?')[:12]}{mark}")


async def _read_registry(
    registry: RegistryClient,
) -> tuple[Mapping[str, str], Sequence[RegisteredVersion]]:
    try:
        return await registry.aliases(), await registry.versions()
    finally:
        await registry.close()


def promote(settings: Settings, version: str) -> None:
    """Point the alias `ml` at a version, which every daemon that follows it loads."""
    # Imported here: it brings MLflow, which the other commands of the group do not need.
    from volsvc.serving.mlflow_registry import Registry

    Registry(tracking_uri(settings), settings.model.name).promote(version)
    print(f"alias ml of {settings.model.name} -> version {version}")


def show_history(changes: Sequence[Mapping[str, Any]]) -> None:
    """Print entries of the audit log, one a line."""
    for entry in changes:
        reason = f"  {entry['reason']}" if entry["reason"] else ""
        print(
            f"{entry['seq']:>5}  {entry['time']}  {entry['kind']:8} {entry['trigger']:8} "
            f"{entry['model']}{reason}"
        )


def local_history(settings: Settings, at: str | None, limit: int) -> list[Mapping[str, Any]]:
    """Return the newest entries under data_dir, newest first; or the one in force at the time."""
    folder = audit_log_folder(settings)
    if at is None:
        return list(reversed(list(entries(folder))[-limit:]))
    time_ns = time_argument("--at", at)
    # The newest entry is no answer for a time that has not come.
    served = served_at(folder, time_ns) if time_ns <= time.time_ns() else None
    if served is None:
        print(f"no model is known to have been active at {format_time(time_ns)}")
    return [served] if served else []


def remote_history(client: Client, at: str | None, limit: int) -> list[Mapping[str, Any]]:
    """Return the same entries from a running daemon."""
    answer = client.model_history(at=at, limit=limit).model_dump()
    if at is None:
        return list(answer["entries"])
    return [answer["served"]] if answer["served"] else []


def verify_audit_log(settings: Settings) -> None:
    """Check the chain of hashes; raises AuditLogError, which names the place where it breaks."""
    first, last = verify(audit_log_folder(settings))
    if last:
        print(f"the audit log is intact: entries {first} to {last}")
    else:
        print("the audit log is empty")
