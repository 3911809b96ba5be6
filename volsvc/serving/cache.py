"""Fitted models that were good, on disk: the registry may be away at the next start."""

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

from volsvc.models.artefact import ArtefactError
from volsvc.models.base import Model

# Artefacts kept: that which serves, and some to roll back to.
KEPT: Final = 5


@dataclass(frozen=True)
class LastGood:
    """What served last out of which registry; `seen` is where the alias pointed then."""

    tracking_uri: str
    name: str
    version: str
    digest: str
    file: str
    seen: str


class ModelCache:
    """Artefacts under `data_dir/models`, by digest, and a note of the last good one."""

    def __init__(self, data_dir: Path, tracking_uri: str, name: str) -> None:
        self._folder = data_dir / "models"
        self._note = self._folder / "last-good.json"
        self._place = (tracking_uri, name)

    @contextlib.contextmanager
    def incoming(self) -> Iterator[Path]:
        """A folder to download into; what is not kept goes with it."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            place = tempfile.TemporaryDirectory(prefix="incoming-", dir=self._folder)
        except OSError as error:
            raise ArtefactError(f"{self._folder}: {error.strerror or error}") from error
        with place as folder:
            yield Path(folder)

    def find(self, digest: str) -> Path | None:
        """The file of a digest, whose bytes are checked again by who loads it."""
        if not digest.isalnum():
            return None
        found = sorted(self._folder.glob(f"{digest}.*"))
        return found[0] if found else None

    def keep(self, path: Path) -> Path:
        """Take over a file that was proved, and let the oldest go."""
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        target = self._folder / f"{digest}{path.suffix}"
        if path != target:
            path.replace(target)
        os.utime(target)
        files = [p for p in self._folder.iterdir() if p.suffix in (".npz", ".pkl")]
        for old in sorted(files, key=lambda p: p.stat().st_mtime, reverse=True)[KEPT:]:
            old.unlink(missing_ok=True)
        return target

    def remember(self, model: Model, seen: str) -> None:
        """Note what the next start serves before it has asked the registry."""
        path = self.find(model.digest)
        if path is None:
            return
        note = LastGood(*self._place, model.version, model.digest, path.name, seen)
        fresh = self._note.with_suffix(".new")
        # A disk that is full costs the next start its last good model, and this one nothing.
        with contextlib.suppress(OSError):
            fresh.write_text(json.dumps(asdict(note)))
            fresh.replace(self._note)

    def last_good(self) -> LastGood | None:
        """The note, if it is of this registry and its artefact is there."""
        try:
            note = LastGood(**json.loads(self._note.read_text()))
        except (OSError, ValueError, TypeError):
            return None
        if (note.tracking_uri, note.name) != self._place or Path(note.file).name != note.file:
            return None
        return note if (self._folder / note.file).is_file() else None

    def path_of(self, note: LastGood) -> Path:
        """The artefact of a note; raises ArtefactError when it has gone."""
        path = self._folder / note.file
        if not path.is_file():
            raise ArtefactError(f"{note.file}: has gone from the cache")
        return path
