"""A local MLflow store, read from its sqlite file.

A read takes a few milliseconds and imports nothing. The tables are not a public interface of
MLflow, so only the schema that was checked is read.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import unquote, urlsplit

from volsvc.serving.registry_client import (
    CALL_TIMEOUT_S,
    RegisteredVersion,
    RegistryAwayError,
    copy_artefact,
    newest_first,
)

# The Alembic revision of stores made by MLflow 3.17.2, the head of its db_migrations. These tables
# and columns were checked for it:
#   alembic_version           version_num
#   registered_models         name
#   registered_model_aliases  workspace, name, alias, version
#   model_versions            workspace, name, version, source, storage_location, current_stage
#   model_version_tags        workspace, name, version, key, value
# Check them again, and change the revision, together with the bound on mlflow in pyproject.toml.
# Only the workspace `default` is read, as MLflow itself does without a server, which may keep
# others in the same tables.
SCHEMA_REVISION: Final = "dc11669786a5"

T = TypeVar("T")


class SchemaRevisionError(RegistryAwayError):
    """The store has a schema that was not checked for this version of volsvc."""

    def __init__(self, store: str, found: str) -> None:
        super().__init__(
            f"the store {store} has MLflow's schema revision {found}, and only {SCHEMA_REVISION} "
            "(MLflow 3.17) is read; run `mlflow server` over the store and set model.tracking_uri "
            "to its http:// address"
        )


class SqliteRegistryClient:
    """A registry in a sqlite file, read only, in a thread. Implements `RegistryClient`."""

    def __init__(self, uri: str, name: str) -> None:
        self._path = Path(uri.removeprefix("sqlite:///"))
        self._name = name

    async def _read(self, query: Callable[[sqlite3.Connection], T], empty: T) -> T:
        """Return the result of a query, or `empty` if there is no store or no model in it."""

        def read() -> T:
            if not self._path.exists():
                return empty
            place = f"{self._path.resolve().as_uri()}?mode=ro"
            # Half of the call's time, so that a store which stays locked is reported as such.
            with closing(sqlite3.connect(place, uri=True, timeout=CALL_TIMEOUT_S / 2)) as store:
                self._check_revision(store)
                return query(store)

        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                return await asyncio.to_thread(read)
        except (sqlite3.Error, OSError, TimeoutError) as error:
            if "no such table" in str(error):
                return empty
            reason = f"the store {self._path.name} cannot be read: {error}"
            raise RegistryAwayError(reason) from error

    def _check_revision(self, store: sqlite3.Connection) -> None:
        """Raise SchemaRevisionError if the store holds models under another revision.

        A store without models may have any: MLflow makes a new one by all of its migrations, each
        in a transaction of its own, and a poll meanwhile meets the revisions in between.
        """
        revisions = [row[0] for row in store.execute("SELECT version_num FROM alembic_version")]
        if revisions == [SCHEMA_REVISION]:
            return
        if store.execute("SELECT 1 FROM registered_models LIMIT 1").fetchone() is not None:
            raise SchemaRevisionError(self._path.name, ", ".join(revisions) or "none")

    async def aliases(self) -> Mapping[str, str]:
        """Return versions by alias; empty while there is no store or no model."""
        sql = (
            "SELECT alias, version FROM registered_model_aliases "
            "WHERE workspace = 'default' AND name = ?"
        )
        return await self._read(
            lambda store: {alias: str(v) for alias, v in store.execute(sql, (self._name,))}, {}
        )

    async def versions(self) -> list[RegisteredVersion]:
        """Return every version, newest first."""
        return await self._read(self._versions, [])

    def _versions(self, store: sqlite3.Connection) -> list[RegisteredVersion]:
        tags: dict[int, dict[str, str]] = {}
        sql = (
            "SELECT version, key, value FROM model_version_tags "
            "WHERE workspace = 'default' AND name = ?"
        )
        for version, key, value in store.execute(sql, (self._name,)):
            tags.setdefault(version, {})[key] = value
        # MLflow keeps the row of a deleted version, under this stage. `source` is `models:/...` for
        # models logged by MLflow 3, and `storage_location` the folder then.
        sql = (
            "SELECT version, COALESCE(storage_location, source) FROM model_versions "
            "WHERE workspace = 'default' AND name = ? AND current_stage != 'Deleted_Internal'"
        )
        return newest_first(
            (str(version), tags.get(version, {}), location or "")
            for version, location in store.execute(sql, (self._name,))
        )

    async def download(self, version: RegisteredVersion, folder: Path) -> Path | None:
        """Copy the artefact from the folder that the store names."""
        location = urlsplit(version.location)
        if location.scheme not in ("", "file"):
            raise RegistryAwayError(
                f"artefacts in {location.scheme}:// are not read from a local store; use a server"
            )
        try:
            return await asyncio.to_thread(copy_artefact, Path(unquote(location.path)), folder)
        except OSError as error:
            raise RegistryAwayError(f"the artefact cannot be copied: {error.strerror}") from error

    async def close(self) -> None:
        """Do nothing: no connection is kept open."""
