"""Verified artefacts on disk, because the registry may be away at the next start."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from volsvc.failpoints import failpoint
from volsvc.models.artefact import ArtefactError
from volsvc.models.base import Model

# The active artefact, and some for rollbacks.
MAX_ARTEFACTS: Final = 5


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
        """Yield a folder for a download, deleted at the end; raises ArtefactError."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            # On the cache's own file system, so that `keep` moves a file instead of copying it.
            place = tempfile.TemporaryDirectory(prefix="incoming-", dir=self._folder)
        except OSError as error:
            raise ArtefactError(f"{self._folder}: {error.strerror or error}") from error
        with place as folder:
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
            path.replace(target)
        # Times of modification give the order of use.
        os.utime(target)
        files = [p for p in self._folder.iterdir() if p.suffix in (".npz", ".pkl")]
        for old in sorted(files, key=lambda p: p.stat().st_mtime, reverse=True)[MAX_ARTEFACTS:]:
            old.unlink(missing_ok=True)
        return target

    def remember(self, model: Model, seen: str) -> None:
        """Record the model that the next start serves before the registry has answered."""
        path = self.find(model.digest)
        if path is None:
            return
        note = LastGood(*self._place, model.version, model.digest, path.name, seen)
        fresh = self._note.with_suffix(".new")
        # A full disk costs the next start its last good model; it must not stop this one.
        with contextlib.suppress(OSError):
            fresh.write_text(json.dumps(asdict(note)))
            failpoint("last_good_written")
            fresh.replace(self._note)

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
