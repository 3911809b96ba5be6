"""A server of those routes of MLflow that the daemon reads, over a folder of artefacts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

NAME = "volsvc"
MOST_RESULTS = 200_000

_REFUSALS = {400: "INVALID_PARAMETER_VALUE", 404: "RESOURCE_DOES_NOT_EXIST"}


class MlflowServer:
    """A registered model on a port of this machine.

    `answer` replaces the answer of every route; `asked` are the headers of all requests, and
    `paths` what they asked for.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model: dict[str, Any] | None = None
        self.found: list[Mapping[str, Any]] = []
        self.page = 2
        self.artifact_uri = "mlflow-artifacts:/1/models/m-1/artifacts"
        self.answer: web.Response | None = None
        self.asked: list[Mapping[str, str]] = []
        self.paths: list[str] = []
        self.peers: set[object] = set()
        app = web.Application(middlewares=[self._watch])
        artifacts = "/api/2.0/mlflow-artifacts/artifacts"
        app.router.add_get("/api/2.0/mlflow/registered-models/get", self._model)
        app.router.add_get("/api/2.0/mlflow/model-versions/search", self._search)
        app.router.add_get("/api/2.0/mlflow/model-versions/get-download-uri", self._place)
        app.router.add_get(artifacts, self._list)
        app.router.add_get(artifacts + "/{path:.+}", self._file)
        self._server = TestServer(app)

    async def __aenter__(self) -> MlflowServer:
        await self._server.start_server()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.close()

    @property
    def url(self) -> str:
        """The address for model.tracking_uri."""
        return str(self._server.make_url("")).rstrip("/")

    @property
    def connections(self) -> int:
        """The number of open connections."""
        runner = self._server.runner
        assert runner is not None
        assert runner.server is not None
        return len(runner.server.connections)

    def register(self, version: str, tags: Mapping[str, str] | None = None) -> None:
        """Add a version; MLflow leaves out empty fields."""
        listed = [{"key": key, "value": value} for key, value in (tags or {}).items()]
        item = {"name": NAME, "version": version, "tags": listed}
        self.found.append({name: value for name, value in item.items() if value})

    def store(self, path: str, data: bytes) -> None:
        """Put a file below the place of the version's artefacts."""
        target = self.folder / "1/models/m-1/artifacts" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)

    @web.middleware
    async def _watch(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked.append(request.headers)
        self.paths.append(request.path)
        assert request.transport is not None
        self.peers.add(request.transport.get_extra_info("peername"))
        answer: web.StreamResponse = self.answer or await handler(request)
        return answer

    async def _model(self, request: web.Request) -> web.Response:
        if self.model is None or request.query.get("name") != NAME:
            return _refused(404)
        return web.json_response({"registered_model": {"name": NAME, **self.model}})

    async def _search(self, request: web.Request) -> web.Response:
        most, start = request.query["max_results"], request.query.get("page_token", "0")
        if request.query.get("filter") != f"name='{NAME}'":
            return _refused(400)
        if not (most.isdigit() and 0 < int(most) <= MOST_RESULTS and start.isdigit()):
            return web.json_response({"error_code": "BAD_REQUEST"}, status=400)
        end = int(start) + min(self.page, int(most))
        answer: dict[str, Any] = {}
        if found := self.found[int(start) : end]:
            answer["model_versions"] = found
        if end < len(self.found):
            answer["next_page_token"] = str(end)
        return web.json_response(answer)

    async def _place(self, request: web.Request) -> web.Response:
        if request.query.get("name") != NAME or request.query.get("version") != "1":
            return _refused(404)
        return web.json_response({"artifact_uri": self.artifact_uri})

    async def _list(self, request: web.Request) -> web.Response:
        folder = self.folder / request.query["path"]
        if not folder.is_dir():
            return _refused(404)
        return web.json_response({"files": _listed(sorted(folder.iterdir()))})

    async def _file(self, request: web.Request) -> web.StreamResponse:
        path = self.folder / request.match_info["path"]
        return web.FileResponse(path) if path.is_file() else _refused(404)


def _listed(paths: Iterable[Path]) -> list[dict[str, Any]]:
    return [
        {"path": path.name, "is_dir": True}
        if path.is_dir()
        else {"path": path.name, "is_dir": False, "file_size": path.lstat().st_size}
        for path in paths
    ]


def _refused(status: int) -> web.Response:
    text = {"error_code": _REFUSALS[status], "message": "not found"}
    return web.json_response(text, status=status)
