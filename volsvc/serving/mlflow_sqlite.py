"""A local MLflow store, read from its sqlite file: a few milliseconds, and nothing is imported."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from volsvc.serving.mlflow_rest import CALL_S, Entry, RegistryAwayError, copy_artefact, newest_first

T = TypeVar("T")


class SqliteRemote:
    """One registered model of a store; read only, in a thread. See `Remote`."""

    def __init__(self, uri: str, name: str) -> None:
        self._path = Path(uri.removeprefix("sqlite:///"))
        self._name = name

    async def _read(self, query: Callable[[sqlite3.Connection], T], absent: T) -> T:
        def read() -> T:
            if not self._path.exists():
                return absent
            place = f"{self._path.resolve().as_uri()}?mode=ro"
            with closing(sqlite3.connect(place, uri=True, timeout=CALL_S / 2)) as store:
                return query(store)

        try:
            async with asyncio.timeout(CALL_S):
                return await asyncio.to_thread(read)
        except (sqlite3.Error, OSError, TimeoutError) as error:
            if "no such table" in str(error):
                return absent
            reason = f"the store {self._path.name} cannot be read: {error}"
            raise RegistryAwayError(reason) from error

    async def aliases(self) -> Mapping[str, str]:
        """Versions by alias; empty while the store or the model is not there."""
        sql = "SELECT alias, version FROM registered_model_aliases WHERE name = ?"
        return await self._read(
            lambda store: {alias: str(v) for alias, v in store.execute(sql, (self._name,))}, {}
        )

    async def entries(self) -> list[Entry]:
        """Every version, newest first."""
        return await self._read(self._entries, [])

    def _entries(self, store: sqlite3.Connection) -> list[Entry]:
        tags: dict[int, dict[str, str]] = {}
        sql = "SELECT version, key, value FROM model_version_tags WHERE name = ?"
        for version, key, value in store.execute(sql, (self._name,)):
            tags.setdefault(version, {})[key] = value
        sql = (
            "SELECT version, COALESCE(storage_location, source) FROM model_versions "
            "WHERE name = ? AND current_stage != 'Deleted_Internal'"
        )
        return newest_first(
            (str(version), tags.get(version, {}), location or "")
            for version, location in store.execute(sql, (self._name,))
        )

    async def fetch(self, entry: Entry, folder: Path) -> Path | None:
        """Copy the artefact from the folder that the store names."""
        where = urlsplit(entry.location)
        if where.scheme not in ("", "file"):
            raise RegistryAwayError(
                f"artefacts in {where.scheme}:// are not read from a local store; use a server"
            )
        try:
            return await asyncio.to_thread(copy_artefact, Path(unquote(where.path)), folder)
        except OSError as error:
            raise RegistryAwayError(f"the artefact cannot be copied: {error.strerror}") from error

    async def close(self) -> None:
        """Nothing is kept open."""
