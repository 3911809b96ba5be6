"""What a registry holds, as the daemon reads it: without MLflow's client, which costs 300 MB.

A server is asked over MLflow's REST API, a local store is read from its sqlite file. Both give the
aliases of one registered model, its versions, and their artefacts.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

import aiohttp

from volsvc.domain import VolsvcError
from volsvc.models.artefact import MOST_BYTES, ArtefactError

DIGEST_TAG: Final = "volsvc.digest"
VARIANT_TAG: Final = "volsvc.variant"
SUFFIXES: Final = (".npz", ".pkl")
# One call of a registry; MLflow's own client takes up to four minutes.
CALL_S: Final = 3.0
_CHUNK: Final = 256 * 1024
_MOST_LISTED: Final = 50
_NO_SUCH: Final = frozenset({"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"})


class RegistryAwayError(VolsvcError):
    """The registry does not answer, or not with what it is asked for."""


class Entry(NamedTuple):
    """A registered version: its digest and variant where tags say so, and where its files are."""

    version: str
    digest: str | None
    variant: str | None
    location: str


class Remote(Protocol):
    """One registered model of a registry; every call raises RegistryAwayError."""

    async def aliases(self) -> Mapping[str, str]:
        """Versions by alias; empty while the model is not registered."""
        ...

    async def entries(self) -> list[Entry]:
        """Every version, newest first."""
        ...

    async def fetch(self, entry: Entry, folder: Path) -> Path | None:
        """Put the version's artefact into a folder; None when it has none, as the baseline.

        Raises ArtefactError when it is more than one file, or too large.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class RestRemote:
    """A registry behind an MLflow server."""

    def __init__(self, uri: str, name: str) -> None:
        self._base = uri.rstrip("/")
        self._name = name
        self._open: aiohttp.ClientSession | None = None

    def _session(self) -> aiohttp.ClientSession:
        if self._open is None:
            timeout = aiohttp.ClientTimeout(total=CALL_S)
            self._open = aiohttp.ClientSession(timeout=timeout, headers=_credentials())
        return self._open

    async def _get(self, route: str, **query: str) -> Mapping[str, Any] | None:
        """A JSON answer; None when the registry knows no such thing."""
        url = f"{self._base}/api/2.0/{route}"
        try:
            async with self._session().get(url, params=query) as response:
                body = await response.json(content_type=None)
                if response.status < 400 and isinstance(body, dict):
                    return body
                code = body.get("error_code") if isinstance(body, dict) else None
                if code in _NO_SUCH:
                    return None
                raise RegistryAwayError(f"the registry answers {response.status} {code or ''}")
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise RegistryAwayError(_reason(error)) from error

    async def aliases(self) -> Mapping[str, str]:
        """Versions by alias, in one call."""
        answer = await self._get("mlflow/registered-models/get", name=self._name) or {}
        listed = answer.get("registered_model", {}).get("aliases", [])
        return {item["alias"]: str(item["version"]) for item in listed}

    async def entries(self) -> list[Entry]:
        """Every version, newest first."""
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

    async def fetch(self, entry: Entry, folder: Path) -> Path | None:
        """Download through the server, or copy where it names a folder of this machine."""
        path = "mlflow/model-versions/get-download-uri"
        answer = await self._get(path, name=self._name, version=entry.version) or {}
        where = urlsplit(str(answer.get("artifact_uri", "")))
        if where.scheme in ("", "file"):
            return copy_artefact(Path(unquote(where.path)), folder)
        if where.scheme != "mlflow-artifacts":
            raise RegistryAwayError(
                f"artefacts in {where.scheme}:// are not read; let the MLflow server serve them "
                "(mlflow server --serve-artifacts)"
            )
        root = PurePosixPath(where.path.lstrip("/"))
        listed = [await self._list(str(root)), await self._list(str(root / "artifacts"))]
        name = _only([file for files in listed for file in files])
        return await self._download(name, folder) if name else None

    async def _list(self, folder: str) -> list[str]:
        answer = await self._get("mlflow-artifacts/artifacts", path=folder) or {}
        files = answer.get("files", [])[:_MOST_LISTED]
        return [f"{folder}/{item['path']}" for item in files if not item.get("is_dir")]

    async def _download(self, name: str, folder: Path) -> Path:
        target = folder / f"new{Path(name).suffix}"
        url = f"{self._base}/api/2.0/mlflow-artifacts/artifacts/{name}"
        size = 0
        try:
            async with self._session().get(url) as response:
                response.raise_for_status()
                chunks = response.content.iter_chunked(_CHUNK)
                with target.open("wb") as file:
                    async for chunk in chunks:
                        size += len(chunk)
                        if size > MOST_BYTES:
                            raise ArtefactError(f"the artefact is larger than {MOST_BYTES} bytes")
                        file.write(chunk)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise RegistryAwayError(_reason(error)) from error
        return target

    async def close(self) -> None:
        """Let go of connections."""
        if self._open is not None:
            await self._open.close()


def _credentials() -> dict[str, str]:
    """What MLflow's own client sends, from the same variables of the environment."""
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return {"Authorization": f"Bearer {token}"}
    user = os.environ.get("MLFLOW_TRACKING_USERNAME")
    password = os.environ.get("MLFLOW_TRACKING_PASSWORD")
    if user and password:
        return {"Authorization": aiohttp.BasicAuth(user, password).encode()}
    return {}


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"the registry does not answer within {CALL_S:g} s"
    return f"the registry cannot be reached: {type(error).__name__}"


def newest_first(found: Iterable[tuple[str, Mapping[str, str], str]]) -> list[Entry]:
    """Entries of versions, tags and locations."""
    entries = [
        Entry(version, tags.get(DIGEST_TAG), tags.get(VARIANT_TAG), location)
        for version, tags, location in found
    ]
    # As numbers: as text, 10 would be older than 9.
    return sorted(entries, key=lambda entry: int(entry.version), reverse=True)


def _only(names: Iterable[str]) -> str | None:
    """The one artefact among files; a pickle beside arrays is another library's wrapper."""
    files = list(names)
    arrays, pickles = ([f for f in files if f.endswith(suffix)] for suffix in SUFFIXES)
    found = arrays or pickles
    if len(found) > 1:
        raise ArtefactError(f"the version holds {len(found)} artefacts, not one")
    return found[0] if found else None


def copy_artefact(root: Path, folder: Path) -> Path | None:
    """The artefact of a folder of this machine."""
    if not root.is_dir():
        raise RegistryAwayError(f"the folder of the artefact, {root}, is not there")
    name = _only(str(path) for path in [*root.glob("*"), *root.glob("artifacts/*")])
    if name is None:
        return None
    if Path(name).stat().st_size > MOST_BYTES:
        raise ArtefactError(f"the artefact is larger than {MOST_BYTES} bytes")
    return Path(shutil.copyfile(name, folder / f"new{Path(name).suffix}"))
