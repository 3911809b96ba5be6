"""A registry behind an MLflow server, read over its REST API."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Final, TypeVar
from urllib.parse import unquote, urlsplit

import aiohttp
from msgspec import Meta, Struct

from volsvc.models.artefact import MAX_BYTES, ArtefactError
from volsvc.safe_io.bodies import UnreadableAnswerError, decode_json, read_bounded
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
# Bytes of an answer: a hundred times what a page of versions takes, and decoded in milliseconds.
_MAX_ANSWER: Final = 4 * 1024 * 1024
# Versions of a page, and pages; MLflow allows larger ones, but descriptions may be long.
_PAGE: Final = 100
_MAX_PAGES: Final = 100
_NOT_FOUND: Final = frozenset({"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"})

# --- the forms of MLflow's answers; every list and text may be missing --------------------

T = TypeVar("T")


Number = Annotated[str, Meta(pattern=r"^[0-9]{1,9}$")] | Annotated[int, Meta(ge=0)]


class _Refusal(Struct):
    error_code: str = ""


class _Alias(Struct):
    alias: str
    version: Number


class _Model(Struct, frozen=True):
    aliases: list[_Alias] = []


class _ModelAnswer(Struct):
    registered_model: _Model = _Model()


class _Tag(Struct):
    key: str
    value: str = ""


class _Version(Struct):
    version: Number
    tags: list[_Tag] = []


class _Page(Struct):
    model_versions: list[_Version] = []
    next_page_token: str | None = None


class _Place(Struct):
    artifact_uri: str = ""


class _File(Struct):
    path: str
    is_dir: bool = False


class _Files(Struct):
    files: list[_File] = []


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

    async def _get(self, route: str, form: type[T], **query: str) -> T:
        """Return the answer of a route, or an empty one if the registry has no such entity."""
        url = f"{self._base}/api/2.0/{route}"
        try:
            async with self._session().get(url, params=query) as response:
                body = await read_bounded(response.content.iter_any(), _MAX_ANSWER)
                if response.status < 400:
                    return decode_json(body, form)
                code = _error_code(body)
                if code in _NOT_FOUND:
                    return form()
                raise RegistryAwayError(f"the registry answers {response.status} {code}")
        except UnreadableAnswerError as error:
            raise RegistryAwayError(f"the registry is not MLflow's: {error}") from error
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise RegistryAwayError(_reason(error)) from error

    async def aliases(self) -> Mapping[str, str]:
        """Return versions by alias, in one call."""
        answer = await self._get("mlflow/registered-models/get", _ModelAnswer, name=self._name)
        return {item.alias: str(item.version) for item in answer.registered_model.aliases}

    async def versions(self) -> list[RegisteredVersion]:
        """Return every version, newest first."""
        found: list[_Version] = []
        query = {"filter": f"name='{self._name}'", "max_results": str(_PAGE)}
        for _ in range(_MAX_PAGES):
            page = await self._get("mlflow/model-versions/search", _Page, **query)
            found += page.model_versions
            if not page.next_page_token:
                break
            query["page_token"] = page.next_page_token
        else:
            raise RegistryAwayError(f"the registry lists more than {_MAX_PAGES} pages of versions")
        return newest_first(
            (str(item.version), {tag.key: tag.value for tag in item.tags}, "") for item in found
        )

    async def download(self, version: RegisteredVersion, folder: Path) -> Path | None:
        """Download through the server, or copy if it names a folder of this machine."""
        path = "mlflow/model-versions/get-download-uri"
        answer = await self._get(path, _Place, name=self._name, version=version.version)
        location = urlsplit(answer.artifact_uri)
        if location.scheme in ("", "file"):
            return await asyncio.to_thread(copy_artefact, Path(unquote(location.path)), folder)
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
        answer = await self._get("mlflow-artifacts/artifacts", _Files, path=folder)
        return [f"{folder}/{file.path}" for file in answer.files[:_MAX_LISTED] if not file.is_dir]

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
        # Not OSError: a full disk is no fault of the registry.
        except (aiohttp.ClientError, TimeoutError) as error:
            raise RegistryAwayError(_reason(error)) from error
        return target

    async def close(self) -> None:
        """Close the connections to the server."""
        if self._open is not None:
            await self._open.close()


def _error_code(body: bytes) -> str:
    # A proxy in between answers with a page of its own.
    with contextlib.suppress(UnreadableAnswerError):
        return decode_json(body, _Refusal).error_code
    return ""


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
