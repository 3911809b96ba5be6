"""A local store is read only in the schema that was checked."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import mlflow.store.db_migrations
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from tests.daemon import eventually, running
from tests.registry.store import NAME, store_of_1_0_0
from tests.registry.test_follow import env
from volsvc.serving.mlflow_sqlite import (
    SCHEMA_REVISION,
    SchemaRevisionError,
    SqliteRegistryClient,
)

NEWER, OLDER = "0123456789ab", "acf3f17fdcc7"


def execute(uri: str, *statements: str) -> None:
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as store:
        for statement in statements:
            store.execute(statement)
        store.commit()


def store_with_revision(folder: Path, revision: str) -> str:
    """Return the address of a store of 1.0.0 under another revision."""
    uri = store_of_1_0_0(folder)
    execute(uri, f"UPDATE alembic_version SET version_num = '{revision}'")
    return uri


def test_the_revision_is_that_of_the_installed_mlflow() -> None:
    """The stores that MLflow creates today have the revision that is read."""
    config = Config()
    config.set_main_option("script_location", mlflow.store.db_migrations.__path__[0])
    assert ScriptDirectory.from_config(config).get_heads() == [SCHEMA_REVISION]


async def test_the_expected_revision_is_read(tmp_path: Path) -> None:
    """Aliases and versions of a store with the expected revision."""
    client = SqliteRegistryClient(store_of_1_0_0(tmp_path), NAME)
    assert await client.aliases() == {"baseline": "1", "ml": "2"}
    found = [(version.version, version.variant) for version in await client.versions()]
    assert found == [("2", "ml"), ("1", "baseline")]


@pytest.mark.parametrize("revision", [NEWER, OLDER])
async def test_another_revision_is_refused(revision: str, tmp_path: Path) -> None:
    """The error names the found and the expected revision, and the remedy."""
    client = SqliteRegistryClient(store_with_revision(tmp_path, revision), NAME)
    for call in (client.aliases, client.versions):
        with pytest.raises(SchemaRevisionError) as raised:
            await call()
        for part in (revision, SCHEMA_REVISION, "mlflow server", "model.tracking_uri"):
            assert part in str(raised.value)


async def test_a_store_without_models_is_empty(tmp_path: Path) -> None:
    """A store that MLflow still migrates, an empty file and a missing file hold no version."""
    uri = store_with_revision(tmp_path, OLDER)
    tables = ("model_version_tags", "model_versions", "registered_model_aliases")
    execute(uri, *(f"DELETE FROM {table}" for table in (*tables, "registered_models")))
    (tmp_path / "empty.db").touch()
    for store in (uri, f"sqlite:///{tmp_path / 'empty.db'}", f"sqlite:///{tmp_path / 'no.db'}"):
        client = SqliteRegistryClient(store, NAME)
        assert await client.aliases() == {}
        assert await client.versions() == []


async def test_health_names_both_revisions(tmp_path: Path) -> None:
    """The daemon serves on, and `registry:poll` in /health is degraded with the remedy."""
    uri = store_with_revision(tmp_path, NEWER)
    async with running(env=env(uri), cwd=tmp_path) as daemon:

        async def refused() -> bool:
            check = (await daemon.get("/health"))["checks"].get("registry:poll", {})
            detail = check.get("detail", "")
            return (
                check.get("status") == "degraded" and NEWER in detail and SCHEMA_REVISION in detail
            )

        await eventually(refused, 20, "the revision is refused")
        assert (await daemon.get("/version"))["model"].startswith("ml-")
        assert await daemon.stop() == 0
