"""A registry behind an MLflow server, read over its REST API."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import aiohttp

from volsvc.models.artefact import MAX_BYTES, ArtefactError
from volsvc.serving.registry_client import (
    CALL_TIMEOUT_S,
    RegisteredVersion,
    RegistryAwayError,
    copy_artefact,
    newest_first,
    single_artefact,
)

_CHUNK_BYTES: Final = 256 * 1024
_MAX_LISTED: Final = 50
_NOT_FOUND: Final = frozenset({"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"})


class RestRegistryClient:
    """A registry behind an MLflow server. Implements `RegistryClient`."""

    def __init__(self, uri: str, name: str) -> None:
        self._base = uri.rstrip("/")
        self._name = name
        self._open: aiohttp.ClientSession | None = None

    def _session(self) -> aiohttp.ClientSession:
        # Opened at the first call: aiohttp needs the running event loop, a constructor has none.
        if self._open is None:
            timeout = aiohttp.ClientTimeout(total=CALL_TIMEOUT_S)
            self._open = aiohttp.ClientSession(timeout=timeout, headers=_credentials())
        return self._open

    async def _get(self, route: str, **query: str) -> Mapping[str, Any] | None:
        """Return the JSON answer of a route, or None if the registry has no such entity."""
        url = f"{self._base}/api/2.0/{route}"
        try:
            async with self._session().get(url, params=query) as response:
                body = await response.json(content_type=None)
                if response.status < 400 and isinstance(body, dict):
                    return body
                code = body.get("error_code") if isinstance(body, dict) else None
                if code in _NOT_FOUND:
                    return None
                raise RegistryAwayError(f"the registry answers {response.status} {code or ''}")
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise RegistryAwayError(_reason(error)) from error

    async def aliases(self) -> Mapping[str, str]:
        """Return versions by alias, in one call."""
        answer = await self._get("mlflow/registered-models/get", name=self._name) or {}
        listed = answer.get("registered_model", {}).get("aliases", [])
        return {item["alias"]: str(item["version"]) for item in listed}

    async def versions(self) -> list[RegisteredVersion]:
        """Return every version, newest first."""
        found: list[Mapping[str, Any]] = []
        query = {"filter": f"name='{self._name}'", "max_results": "1000"}
        while True:
            page = await self._get("mlflow/model-versions/search", **query) or {}
            found += page.get("model_versions", [])
            if not page.get("next_page_token"):
                break
            query["page_token"] = page["next_page_token"]
        return newest_first(
            (str(item["version"]), {t["key"]: t["value"] for t in item.get("tags", [])}, "")
            for item in found
        )

    async def download(self, version: RegisteredVersion, folder: Path) -> Path | None:
        """Download through the server, or copy if it names a folder of this machine."""
        path = "mlflow/model-versions/get-download-uri"
        answer = await self._get(path, name=self._name, version=version.version) or {}
        location = urlsplit(str(answer.get("artifact_uri", "")))
        if location.scheme in ("", "file"):
            return copy_artefact(Path(unquote(location.path)), folder)
        if location.scheme != "mlflow-artifacts":
            raise RegistryAwayError(
                f"artefacts in {location.scheme}:// are not read; let the MLflow server serve them "
                "(mlflow server --serve-artifacts)"
            )
        root = PurePosixPath(location.path.lstrip("/"))
        listed = [await self._list(str(root)), await self._list(str(root / "artifacts"))]
        name = single_artefact([file for files in listed for file in files])
        return await self._stream(name, folder) if name else None

    async def _list(self, folder: str) -> list[str]:
        answer = await self._get("mlflow-artifacts/artifacts", path=folder) or {}
        files = answer.get("files", [])[:_MAX_LISTED]
        return [f"{folder}/{item['path']}" for item in files if not item.get("is_dir")]

    async def _stream(self, name: str, folder: Path) -> Path:
        """Download a file in chunks; raises ArtefactError as soon as it is too large."""
        target = folder / f"new{Path(name).suffix}"
        url = f"{self._base}/api/2.0/mlflow-artifacts/artifacts/{name}"
        size = 0
        try:
            async with self._session().get(url) as response:
                response.raise_for_status()
                chunks = response.content.iter_chunked(_CHUNK_BYTES)
                with target.open("wb") as file:
                    async for chunk in chunks:
                        size += len(chunk)
                        if size > MAX_BYTES:
                            raise ArtefactError(f"the artefact is larger than {MAX_BYTES} bytes")
                        file.write(chunk)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise RegistryAwayError(_reason(error)) from error
        return target

    async def close(self) -> None:
        """Close the connections to the server."""
        if self._open is not None:
            await self._open.close()


def _credentials() -> dict[str, str]:
    """Return the headers that MLflow's client would send, from the same environment variables."""
    user = os.environ.get("MLFLOW_TRACKING_USERNAME")
    password = os.environ.get("MLFLOW_TRACKING_PASSWORD")
    if user and password:
        return {"Authorization": aiohttp.encode_basic_auth(user, password)}
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return {"Authorization": f"Bearer {token}"}
    return {}


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"the registry does not answer within {CALL_TIMEOUT_S:g} s"
    return f"the registry cannot be reached: {type(error).__name__}"
