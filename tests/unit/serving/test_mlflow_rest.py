"""A registry behind an MLflow server: its routes, credentials, downloads and failures."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from aiohttp import web

from tests.daemon import eventually
from tests.full_disk import files_end_at
from tests.unit.serving.mlflow_server import NAME, MlflowServer
from volsvc.models import ArtefactError
from volsvc.serving import mlflow_rest as module
from volsvc.serving.mlflow_rest import RestRegistryClient
from volsvc.serving.registry_client import RegisteredVersion, RegistryAwayError

VERSION = RegisteredVersion("1", None, None, "")
PLACE = "`$.model_versions[0].version`"
FOREIGN = "the registry is not MLflow's: the answer cannot be read: "


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without MLflow's credentials."""
    for name in ("TOKEN", "USERNAME", "PASSWORD"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[MlflowServer]:
    """A server without models."""
    async with MlflowServer(tmp_path / "served") as server:
        yield server


@pytest.fixture
async def client(server: MlflowServer) -> AsyncIterator[RestRegistryClient]:
    """A client of the server."""
    client = RestRegistryClient(server.url, NAME)
    yield client
    await client.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a download."""
    (tmp_path / "new").mkdir()
    return tmp_path / "new"


# --- aliases and versions -----------------------------------------------------------------


async def test_the_aliases_of_a_model(server: MlflowServer, client: RestRegistryClient) -> None:
    """Versions are text, also from a server that gives numbers."""
    listed = [{"alias": "ml", "version": "12"}, {"alias": "baseline", "version": 1}]
    server.model = {"aliases": listed}
    assert await client.aliases() == {"ml": "12", "baseline": "1"}


@pytest.mark.parametrize("model", [None, {}])
async def test_no_alias(
    model: dict[str, object] | None, server: MlflowServer, client: RestRegistryClient
) -> None:
    """A model that is not registered, or has no alias, has none."""
    server.model = model
    assert await client.aliases() == {}


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 12])
async def test_every_version_newest_first(
    count: int, server: MlflowServer, client: RestRegistryClient
) -> None:
    """All pages of the list are read; the place of files is the server's secret."""
    numbers = [str(number) for number in range(1, count + 1)]
    for number in numbers:
        server.register(number, {"volsvc.digest": f"d{number}", "volsvc.variant": "ml"})
    expected = [RegisteredVersion(n, f"d{n}", "ml", "") for n in reversed(numbers)]
    assert await client.versions() == expected


async def test_a_version_without_tags(server: MlflowServer, client: RestRegistryClient) -> None:
    """A version that somebody else has registered is listed as well."""
    server.register("1")
    assert await client.versions() == [VERSION]


async def test_a_model_of_another_name_is_not_there(server: MlflowServer) -> None:
    """A client asks for its own model."""
    server.model = {"aliases": [{"alias": "ml", "version": "1"}]}
    server.register("1")
    client = RestRegistryClient(server.url, "other")
    assert await client.aliases() == {}
    assert await client.versions() == []
    await client.close()


@pytest.mark.parametrize("path", ["", "//", "/team/X", "/team/X/", "/team/X//"])
async def test_the_address_may_have_a_path(path: str, server: MlflowServer) -> None:
    """A proxy may serve the registry below a path, of which nothing is lost but slashes."""
    server.answer = web.json_response({})
    client = RestRegistryClient(f"{server.url}{path}", NAME)
    assert await client.aliases() == {}
    assert server.paths == [f"{path.rstrip('/')}/api/2.0/mlflow/registered-models/get"]
    await client.close()


async def test_calls_share_a_connection_until_the_end(
    server: MlflowServer, client: RestRegistryClient
) -> None:
    """One connection serves all calls; `close` closes it."""
    for _ in range(3):
        await client.versions()
    assert (len(server.peers), server.connections) == (1, 1)
    await client.close()

    async def closed() -> bool:
        return server.connections == 0

    await eventually(closed, 5, "the connection is closed")


async def test_a_client_that_was_never_used_closes() -> None:
    """There may be no call before the end."""
    await RestRegistryClient("http://127.0.0.1:9", NAME).close()


# --- credentials --------------------------------------------------------------------------

BASIC = "Basic " + base64.b64encode("ann:żółw".encode()).decode()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"TOKEN": "abc"}, "Bearer abc"),
        ({"USERNAME": "ann", "PASSWORD": "żółw"}, BASIC),
        ({"TOKEN": "abc", "USERNAME": "ann", "PASSWORD": "żółw"}, BASIC),
        ({"TOKEN": "abc", "USERNAME": "ann"}, "Bearer abc"),
        ({"USERNAME": "ann"}, None),
        ({"PASSWORD": "żółw"}, None),
    ],
)
async def test_credentials_come_from_the_environment(
    environment: Mapping[str, str],
    expected: str | None,
    server: MlflowServer,
    client: RestRegistryClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Variables, their precedence and their encoding are those of MLflow's own client."""
    for name, value in environment.items():
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
    await client.versions()
    assert [headers.get("Authorization") for headers in server.asked] == [expected]


# --- downloads ----------------------------------------------------------------------------


@pytest.mark.parametrize("uri", ["mlflow-artifacts:/{}", "mlflow-artifacts://host:1/{}"])
@pytest.mark.parametrize("path", ["ml.npz", "artifacts/ml.npz", "artifacts/model.pkl"])
async def test_an_artefact_comes_through_the_server(
    uri: str, path: str, server: MlflowServer, client: RestRegistryClient, folder: Path
) -> None:
    """The file is found beside MLmodel or in `artifacts`, also if it needs several chunks."""
    data = bytes(range(256)) * 3000
    server.artifact_uri = uri.format("1/models/m-1/artifacts")
    server.store("MLmodel", b"flavors: {}")
    server.store("old.npz/notes.txt", b"a folder is no artefact")
    server.store(path, data)
    found = await client.download(VERSION, folder)
    assert found == folder / f"new{Path(path).suffix}"
    assert found.read_bytes() == data


async def test_a_folder_of_the_server_may_have_any_name(
    server: MlflowServer, client: RestRegistryClient, folder: Path
) -> None:
    """Only the slashes before it are left out."""
    server.artifact_uri = "mlflow-artifacts://host:1//X/1"
    place = server.folder / "X" / "1"
    place.mkdir(parents=True)
    (place / "ml.npz").write_bytes(b"arrays")
    found = await client.download(VERSION, folder)
    assert found is not None
    assert found.read_bytes() == b"arrays"


async def test_a_version_without_artefact_gives_none(
    server: MlflowServer, client: RestRegistryClient, folder: Path
) -> None:
    """The baseline has no artefact, and perhaps no file at all."""
    assert await client.download(VERSION, folder) is None
    server.store("MLmodel", b"flavors: {}")
    assert await client.download(VERSION, folder) is None


async def test_a_long_list_of_files_is_not_read_to_its_end(
    server: MlflowServer, client: RestRegistryClient, folder: Path
) -> None:
    """An artefact after the fiftieth file of a folder is not looked for."""
    for index in range(49):
        server.store(f"{index:02}.txt", b"")
    server.store("49.npz", b"arrays")
    assert await client.download(VERSION, folder) is not None
    server.store("00a.txt", b"")
    assert await client.download(VERSION, folder) is None


async def test_several_artefacts_are_refused(
    server: MlflowServer, client: RestRegistryClient, folder: Path
) -> None:
    """One beside MLmodel and one in `artifacts` are two."""
    server.store("a.npz", b"arrays")
    server.store("artifacts/b.npz", b"arrays")
    with pytest.raises(ArtefactError, match="2 artefacts"):
        await client.download(VERSION, folder)


async def test_the_size_of_a_download_is_limited(
    server: MlflowServer,
    client: RestRegistryClient,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file of the limit is read; a longer one is refused before it is on disk as a whole."""
    monkeypatch.setattr(module, "MAX_BYTES", 5000)
    monkeypatch.setattr(module, "_CHUNK_BYTES", 1000)
    server.store("ml.npz", bytes(5000))
    found = await client.download(VERSION, folder)
    assert found is not None
    assert found.stat().st_size == 5000
    server.store("ml.npz", bytes(5001))
    with pytest.raises(ArtefactError, match="larger than 5000 bytes"):
        await client.download(VERSION, folder)
    assert found.stat().st_size <= 5000


@pytest.mark.parametrize("uri", ["file://{}", "{}"])
async def test_a_folder_of_this_machine_is_copied(
    uri: str, server: MlflowServer, client: RestRegistryClient, tmp_path: Path, folder: Path
) -> None:
    """The server names it as an address, in which a space is written as %20."""
    place = tmp_path / "our models"
    place.mkdir()
    (place / "ml.npz").write_bytes(b"arrays")
    server.artifact_uri = uri.format(str(place).replace(" ", "%20"))
    found = await client.download(VERSION, folder)
    assert found is not None
    assert found.read_bytes() == b"arrays"
    assert found.parent == folder


async def test_artefacts_elsewhere_are_left_alone(
    server: MlflowServer, client: RestRegistryClient, folder: Path
) -> None:
    """The daemon has no client of a cloud's store; the error names the remedy."""
    server.artifact_uri = "s3://bucket/1"
    with pytest.raises(RegistryAwayError, match=r"in s3:// are .* \(mlflow server --serve-artif"):
        await client.download(VERSION, folder)


@pytest.mark.parametrize(("name", "number"), [("other", "1"), (NAME, "2")])
async def test_a_version_that_is_gone_has_no_files(
    name: str, number: str, server: MlflowServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client asks for its own model and version, and takes no file of the working directory."""
    server.store("ml.npz", b"arrays")
    monkeypatch.chdir(folder.parent)
    (folder.parent / "other.npz").touch()
    client = RestRegistryClient(server.url, name)
    with pytest.raises(RegistryAwayError, match="names no folder"):
        await client.download(VERSION._replace(version=number), folder)
    await client.close()


# --- failures -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (web.json_response({"error_code": "X_Y"}, status=500), "the registry answers 500 X_Y"),
        (web.json_response({"error_code": "X_Y"}, status=400), "the registry answers 400 X_Y"),
        (web.json_response({}, status=503), "the registry answers 503 "),
        (web.json_response([], status=502), "the registry answers 502 "),
        (web.Response(text="<html>", status=502), "the registry answers 502 "),
        (web.json_response([]), f"{FOREIGN}Expected `object`, got `array`"),
        (web.Response(text="<html>"), f"{FOREIGN}JSON is malformed: invalid character (byte 0)"),
        (
            web.json_response({"model_versions": [{"version": "x"}]}),
            f"{FOREIGN}Expected `str` matching regex '^[0-9]{{1,9}}$' - at {PLACE}",
        ),
    ],
)
async def test_an_answer_that_is_not_mlflows(
    answer: web.Response, expected: str, server: MlflowServer, client: RestRegistryClient
) -> None:
    """The error gives the status, and the server's own code for the fault."""
    server.answer = answer
    with pytest.raises(RegistryAwayError) as raised:
        await client.versions()
    assert str(raised.value) == expected


def listing(count: int, description: str = "") -> web.Response:
    versions = [{"version": "1", "description": description} for _ in range(count)]
    return web.json_response({"model_versions": versions})


DEEP = '{"model_versions": [], "more": ' + "[" * 50_000 + "]" * 50_000 + "}"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (web.Response(text=DEEP), "the registry is not MLflow's: the answer cannot be read: "),
        (listing(1, "x" * 5_000_000), "the registry is not MLflow's: the answer is larger than "),
    ],
    ids=["deep", "long"],
)
async def test_an_answer_without_measure(
    answer: web.Response, expected: str, server: MlflowServer, client: RestRegistryClient
) -> None:
    """A deeply nested answer, and a long one, are those of a registry that is away."""
    server.answer = answer
    with pytest.raises(RegistryAwayError) as raised:
        await client.versions()
    assert str(raised.value).startswith(expected)


async def test_a_list_without_end(server: MlflowServer, client: RestRegistryClient) -> None:
    """Pages that each name a next one are read up to a bound."""
    server.page = 1
    for number in range(101):
        server.register(str(number))
    with pytest.raises(RegistryAwayError, match="more than 100 pages"):
        await client.versions()


async def test_a_full_disk_is_no_fault_of_the_registry(
    server: MlflowServer, client: RestRegistryClient, folder: Path
) -> None:
    """The error of the system comes out, and the registry is not left alone for it."""
    server.store("ml.npz", bytes(1000))
    with files_end_at(100), pytest.raises(OSError, match="File too large"):
        await client.download(VERSION, folder)


async def test_json_of_any_content_type_is_read(
    server: MlflowServer, client: RestRegistryClient
) -> None:
    """A proxy in between may have changed the header."""
    text = '{"registered_model": {"aliases": [{"alias": "ml", "version": "3"}]}}'
    server.answer = web.Response(text=text, content_type="text/plain")
    assert await client.aliases() == {"ml": "3"}


async def test_a_file_that_is_gone(
    server: MlflowServer, client: RestRegistryClient, folder: Path
) -> None:
    """An error in place of the file is no file."""
    server.store("ml.npz", b"arrays")
    path = server.folder / "1/models/m-1/artifacts/ml.npz"
    path.unlink()
    path.symlink_to("nowhere")
    with pytest.raises(RegistryAwayError, match="cannot be reached: ClientResponseError"):
        await client.download(VERSION, folder)
    assert list(folder.iterdir()) == []


async def test_nobody_listens() -> None:
    """A refused connection is told by its kind."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    client = RestRegistryClient(f"http://127.0.0.1:{port}", NAME)
    with pytest.raises(RegistryAwayError, match="cannot be reached: ClientConnectorError"):
        await client.aliases()
    await client.close()


async def test_a_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call ends after its time, and the error gives it."""
    monkeypatch.setattr(module, "CALL_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = RestRegistryClient(f"http://127.0.0.1:{silent.getsockname()[1]}", NAME)
        async with asyncio.timeout(20):
            with pytest.raises(RegistryAwayError, match=r"does not answer within 0\.2 s"):
                await client.aliases()
        await client.close()
