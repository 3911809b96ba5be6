"""Verified artefacts on disk, because the registry may be away at the next start."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from volsvc.models.artefact import PACKAGED, ArtefactError, packaged_digest
from volsvc.models.base import Model
from volsvc.safe_io.disk import put_in_place, replace_file

# The active artefact, and some for rollbacks.
MAX_ARTEFACTS: Final = 5
_DIGEST_NAME: Final = re.compile(r"[0-9a-f]{64}\.(npz|pkl)")


@dataclass(frozen=True)
class LastGood:
    """The last model of a registry that was active; `seen` is the alias's version then."""

    tracking_uri: str
    name: str
    version: str
    digest: str
    file: str
    seen: str


class ModelCache:
    """Artefacts under `data_dir/models` by digest, and a record of the last good one."""

    def __init__(self, data_dir: Path, tracking_uri: str, name: str) -> None:
        self._folder = data_dir / "models"
        self._note = self._folder / "last-good.json"
        self._place = (tracking_uri, name)

    @contextlib.contextmanager
    def incoming(self) -> Iterator[Path]:
        """Yield a folder for a download, deleted at the end; raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        # On the cache's own file system, so that `keep` moves a file instead of copying it.
        with tempfile.TemporaryDirectory(prefix="incoming-", dir=self._folder) as folder:
            yield Path(folder)

    def find(self, digest: str) -> Path | None:
        """Return the file of a digest or None; its bytes are checked when it is loaded."""
        # A digest comes from a registry; it must not hold a path or a pattern of `glob`.
        if not digest.isalnum():
            return None
        found = sorted(self._folder.glob(f"{digest}.*"))
        return found[0] if found else None

    def keep(self, path: Path) -> Path:
        """Move a verified file into the cache and delete the oldest; return its new path."""
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        target = self._folder / f"{digest}{path.suffix}"
        if path != target:
            put_in_place(path, target)
        # Times of modification give the order of use.
        os.utime(target)
        # `volsvc train` writes into this folder too, under names that are no digests.
        files = [p for p in self._folder.iterdir() if _DIGEST_NAME.fullmatch(p.name)]
        for old in sorted(files, key=lambda p: p.stat().st_mtime, reverse=True)[MAX_ARTEFACTS:]:
            old.unlink(missing_ok=True)
        return target

    def remember(self, model: Model, seen: str) -> None:
        """Record the model that the next start serves before the registry has answered."""
        # A full disk costs the next start its last good model; it must not stop this one.
        with contextlib.suppress(OSError):
            path = self.find(model.digest) or self._copy_of_packaged(model.digest)
            if path is not None:
                note = LastGood(*self._place, model.version, model.digest, path.name, seen)
                replace_file(self._note, json.dumps(asdict(note)).encode())

    def _copy_of_packaged(self, digest: str) -> Path | None:
        """Return a copy of the packaged model in the cache, if it is the one of this digest.

        Another version of the package brings another model, and the active one must not change.
        """
        if digest != packaged_digest():
            return None
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{digest}{PACKAGED.suffix}"
        replace_file(path, PACKAGED.read_bytes())
        return path

    def last_good(self) -> LastGood | None:
        """Return the record, if it is of this registry and its artefact exists."""
        try:
            note = LastGood(**json.loads(self._note.read_text()))
        except (OSError, ValueError, TypeError):
            return None
        if (note.tracking_uri, note.name) != self._place or Path(note.file).name != note.file:
            return None
        return note if (self._folder / note.file).is_file() else None

    def path_of(self, note: LastGood) -> Path:
        """Return the artefact of a record; raises ArtefactError if it is gone."""
        path = self._folder / note.file
        if not path.is_file():
            raise ArtefactError(f"{note.file}: is gone from the cache")
        return path
