"""The model registry as the daemon reads it: aliases, versions and artefacts of one model.

MLflow's own client costs 300 MB of memory, so the daemon asks a server over REST (`mlflow_rest`)
and reads a local store from its sqlite file (`mlflow_sqlite`).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from volsvc.domain import VolsvcError
from volsvc.models.artefact import MAX_BYTES, ArtefactError

DIGEST_TAG: Final = "volsvc.digest"
VARIANT_TAG: Final = "volsvc.variant"
SUFFIXES: Final = (".npz", ".pkl")
# Of one call; MLflow's own client retries for up to four minutes.
CALL_TIMEOUT_S: Final = 3.0


class RegistryAwayError(VolsvcError):
    """The registry does not answer, or its answer cannot be used."""


class RegisteredVersion(NamedTuple):
    """A version of the registered model.

    `digest` and `variant` are None if the version lacks our tags. `location` is the place of its
    files, empty if only the server knows it.
    """

    version: str
    digest: str | None
    variant: str | None
    location: str


class RegistryClient(Protocol):
    """A reader of one registered model. Every call may raise RegistryAwayError."""

    async def aliases(self) -> Mapping[str, str]:
        """Return versions by alias; empty while the model is not registered."""
        ...

    async def versions(self) -> list[RegisteredVersion]:
        """Return every version, newest first."""
        ...

    async def download(self, version: RegisteredVersion, folder: Path) -> Path | None:
        """Put the artefact of a version into a folder; None if it has none, as the baseline.

        Raises ArtefactError if the version holds more than one, or if it is too large.
        """
        ...

    async def close(self) -> None:
        """Close connections."""
        ...


def newest_first(
    found: Iterable[tuple[str, Mapping[str, str], str]],
) -> list[RegisteredVersion]:
    """Return versions from tuples of number, tags and location, newest first."""
    versions = [
        RegisteredVersion(version, tags.get(DIGEST_TAG), tags.get(VARIANT_TAG), location)
        for version, tags, location in found
    ]
    # Compared as numbers: as text, 10 would be older than 9.
    return sorted(versions, key=lambda version: int(version.version), reverse=True)


def single_artefact(names: Iterable[str]) -> str | None:
    """Return the one artefact among file names, or None; raises ArtefactError for several."""
    files = list(names)
    arrays, pickles = ([f for f in files if f.endswith(suffix)] for suffix in SUFFIXES)
    # A pickle beside arrays is the wrapper of another library, not the model.
    found = arrays or pickles
    if len(found) > 1:
        raise ArtefactError(f"the version holds {len(found)} artefacts, not one")
    return found[0] if found else None


def copy_artefact(root: Path, folder: Path) -> Path | None:
    """Copy the artefact below a folder of this machine into `folder`; None if there is none."""
    if root == Path():
        # The path of an empty address; it would be the working directory.
        raise RegistryAwayError("the registry names no folder of the artefact")
    if not root.is_dir():
        raise RegistryAwayError(f"the folder of the artefact, {root}, is not there")
    # MLflow puts the files named by `artifacts=` into a folder of that name.
    name = single_artefact(str(path) for path in [*root.glob("*"), *root.glob("artifacts/*")])
    if name is None:
        return None
    if Path(name).stat().st_size > MAX_BYTES:
        raise ArtefactError(f"the artefact is larger than {MAX_BYTES} bytes")
    return Path(shutil.copyfile(name, folder / f"new{Path(name).suffix}"))
