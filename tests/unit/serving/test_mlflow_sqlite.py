"""A local MLflow store: what is read of its tables, its revisions, and its failures."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from volsvc.serving import mlflow_sqlite as module
from volsvc.serving.mlflow_sqlite import (
    SCHEMA_REVISION,
    SchemaRevisionError,
    SqliteRegistryClient,
)
from volsvc.serving.registry_client import CALL_TIMEOUT_S, RegisteredVersion, RegistryAwayError

TABLES = Path(__file__).parents[2] / "registry" / "registered_by_1_0_0" / "store.sql"
FULL = ("model_version_tags", "model_versions", "registered_model_aliases", "registered_models")


class Store:
    """A sqlite file with the tables of a real store, and no model."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.uri = f"sqlite:///{path}"
        self.change(TABLES.read_text(), *(f"DELETE FROM {table};" for table in FULL))

    def change(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.path)) as store:
            store.executescript("".join(statements))

    def insert(self, table: str, **row: Any) -> None:
        names, places = ", ".join(row), ", ".join("?" * len(row))
        with closing(sqlite3.connect(self.path)) as store, store:
            store.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", [*row.values()])

    def register(
        self, version: int, name: str = "volsvc", tags: Mapping[str, str] | None = None, **row: Any
    ) -> None:
        self.insert("registered_models", name=name, workspace=f"{name}-{version}")
        row = {"current_stage": "None", **row}
        self.insert("model_versions", name=name, version=version, **row)
        for key, value in (tags or {}).items():
            self.insert("model_version_tags", name=name, version=version, key=key, value=value)

    def client(self) -> SqliteRegistryClient:
        return SqliteRegistryClient(self.uri, "volsvc")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store without models, in a folder with a space in its name."""
    (tmp_path / "our data").mkdir()
    return Store(tmp_path / "our data" / "mlflow.db")


async def test_aliases_are_those_of_the_model(store: Store) -> None:
    """Versions are text; aliases of other models are theirs."""
    store.register(12)
    for name, alias, version in (("volsvc", "ml", 12), ("volsvc", "b", 1), ("other", "x", 3)):
        store.insert("registered_model_aliases", name=name, alias=alias, version=version)
    assert await store.client().aliases() == {"ml": "12", "b": "1"}


async def test_versions_have_their_tags_and_places(store: Store) -> None:
    """Newest first; the folder is `storage_location`, or `source` without one; deleted are left."""
    store.register(9, tags={"volsvc.digest": "d9", "volsvc.variant": "ml"}, source="file:///9")
    tags = {"volsvc.digest": "d10", "by": "x"}
    store.register(10, tags=tags, source="models:/m-10", storage_location="file:///10")
    store.register(11)
    store.register(12, current_stage="Deleted_Internal", source="file:///12")
    store.register(13, name="other", tags={"volsvc.digest": "d13"})
    store.insert("model_version_tags", name="other", version=11, key="volsvc.digest", value="no")
    assert await store.client().versions() == [
        RegisteredVersion("11", None, None, ""),
        RegisteredVersion("10", "d10", None, "file:///10"),
        RegisteredVersion("9", "d9", "ml", "file:///9"),
    ]


async def test_other_workspaces_are_left_alone(store: Store) -> None:
    """A server may keep models of one name in several workspaces of a store."""
    store.register(1, tags={"volsvc.digest": "ours"})
    other = {"name": "volsvc", "workspace": "research"}
    store.insert("registered_models", **other)
    store.insert("registered_model_aliases", alias="ml", version=2, **other)
    for version in (1, 2):
        store.insert("model_versions", version=version, current_stage="None", **other)
        tag = {"key": "volsvc.digest", "value": "theirs"}
        store.insert("model_version_tags", version=version, **tag, **other)
    assert await store.client().aliases() == {}
    assert await store.client().versions() == [RegisteredVersion("1", "ours", None, "")]


async def test_the_store_is_not_changed(store: Store) -> None:
    """A read leaves file and folder as they were, and makes no store where there is none."""
    store.register(1)
    before = store.path.read_bytes()
    await store.client().versions()
    gone = SqliteRegistryClient(f"sqlite:///{store.path.with_name('gone.db')}", "volsvc")
    assert await gone.versions() == []
    assert await gone.aliases() == {}
    assert store.path.read_bytes() == before
    assert list(store.path.parent.iterdir()) == [store.path]


async def test_how_the_store_is_opened(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """For reading, by any build of sqlite, and with half of the call's time for locks.

    Some builds take every name for an address, and others only where it is asked for.
    """
    opened: list[tuple[object, ...]] = []
    connect = sqlite3.connect

    def noted(place: str, *, timeout: float = -1.0, uri: bool = False) -> sqlite3.Connection:
        opened.append((place, timeout, uri))
        return connect(place, timeout=timeout, uri=uri)

    monkeypatch.setattr(sqlite3, "connect", noted)
    await store.client().versions()
    assert opened == [(f"{store.path.as_uri()}?mode=ro", CALL_TIMEOUT_S / 2, True)]


async def test_a_relative_path_starts_at_the_working_directory(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sqlite:///mlflow.db` is a file of the folder in which the daemon was started."""
    monkeypatch.chdir(store.path.parent)
    store.register(1)
    client = SqliteRegistryClient("sqlite:///mlflow.db", "volsvc")
    assert [found.version for found in await client.versions()] == ["1"]


# --- revisions ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "named"),
    [(["0123456789ab"], "0123456789ab"), ([], "none"), ([SCHEMA_REVISION, "b"], "{0}, b")],
)
async def test_models_under_another_revision_are_not_read(
    found: list[str], named: str, store: Store
) -> None:
    """The error names store, revisions and the remedy."""
    store.register(1)
    store.change("DELETE FROM alembic_version;")
    for revision in found:
        store.insert("alembic_version", version_num=revision)
    expected = (
        f"the store mlflow.db has MLflow's schema revision {named.format(SCHEMA_REVISION)}, "
        f"and only {SCHEMA_REVISION} (MLflow 3.17) is read; run `mlflow server` over the store "
        "and set model.tracking_uri to its http:// address"
    )
    for call in (store.client().aliases, store.client().versions):
        with pytest.raises(SchemaRevisionError) as raised:
            await call()
        assert str(raised.value) == expected


async def test_a_store_that_is_still_made_is_empty(store: Store) -> None:
    """A poll between MLflow's migrations finds no model, and no fault."""
    store.change("UPDATE alembic_version SET version_num = '0123456789ab';")
    assert await store.client().versions() == []
    store.change("DROP TABLE registered_model_aliases;")
    assert await store.client().aliases() == {}
    store.path.write_bytes(b"")
    assert await store.client().versions() == []
    assert await store.client().aliases() == {}


# --- failures -----------------------------------------------------------------------------


async def test_a_file_that_is_no_store(store: Store) -> None:
    """The error names the file and sqlite's reason."""
    store.path.write_bytes(b"no store" * 1000)
    with pytest.raises(RegistryAwayError, match=r"^the store mlflow\.db cannot be read: file is"):
        await store.client().versions()


async def test_a_store_that_stays_locked(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is reported before the time of the call is over."""
    monkeypatch.setattr(module, "CALL_TIMEOUT_S", 2.0)
    with closing(sqlite3.connect(store.path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(RegistryAwayError, match="cannot be read: database is locked"):
            await store.client().versions()


async def test_a_disk_that_does_not_answer(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call ends after its time, although its thread still waits."""
    answers = threading.Event()
    connect = sqlite3.connect

    def hanging(place: str, **how: Any) -> sqlite3.Connection:
        answers.wait(10)
        opened: sqlite3.Connection = connect(place, **how)
        return opened

    monkeypatch.setattr(module, "CALL_TIMEOUT_S", 0.1)
    monkeypatch.setattr(sqlite3, "connect", hanging)
    try:
        with pytest.raises(RegistryAwayError, match=r"^the store mlflow\.db cannot be read: "):
            await store.client().versions()
    finally:
        answers.set()


async def test_a_store_that_is_locked_for_a_while(store: Store) -> None:
    """A read waits for a writer, and does not fail at once."""
    store.register(1)
    with closing(sqlite3.connect(store.path, check_same_thread=False)) as other:
        other.execute("BEGIN EXCLUSIVE")
        reading = asyncio.create_task(store.client().versions())
        await asyncio.sleep(0.1)
        assert not reading.done()
        other.rollback()
        assert len(await reading) == 1


# --- downloads ----------------------------------------------------------------------------


def placed(location: str) -> RegisteredVersion:
    return RegisteredVersion("1", None, None, location)


@pytest.mark.parametrize("location", ["file://{}", "{}"])
async def test_the_artefact_is_copied_from_its_folder(
    location: str, store: Store, tmp_path: Path
) -> None:
    """An address of a folder writes a space as %20."""
    place = tmp_path / "our models"
    (place / "artifacts").mkdir(parents=True)
    (place / "artifacts" / "ml.npz").write_bytes(b"arrays")
    where = location.format(str(place).replace(" ", "%20"))
    found = await store.client().download(placed(where), tmp_path)
    assert found == tmp_path / "new.npz"
    assert found.read_bytes() == b"arrays"


async def test_a_folder_without_artefact_gives_none(store: Store, tmp_path: Path) -> None:
    """The baseline has no artefact."""
    assert await store.client().download(placed(str(store.path.parent)), tmp_path) is None


@pytest.mark.parametrize("location", ["s3://bucket/1", "models:/m-1"])
async def test_artefacts_elsewhere_are_left_alone(
    location: str, store: Store, tmp_path: Path
) -> None:
    """The error names the scheme and the remedy."""
    scheme = location.partition(":")[0]
    with pytest.raises(RegistryAwayError, match=f"in {scheme}:// are not read .* use a server"):
        await store.client().download(placed(location), tmp_path)


async def test_a_copy_that_fails(store: Store, tmp_path: Path) -> None:
    """A full or missing disk is told with the system's reason."""
    (tmp_path / "ml.npz").touch()
    with pytest.raises(RegistryAwayError, match="cannot be copied: No such file"):
        await store.client().download(placed(str(tmp_path)), tmp_path / "gone")


async def test_closing_keeps_the_store(store: Store) -> None:
    """There is no connection to close, and reads go on."""
    client = store.client()
    await client.close()
    assert await client.versions() == []
