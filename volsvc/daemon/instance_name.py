"""A name of this process that is unique among those of its user on its host.

Members of a consumer group have static names, so that a member that restarts gets its partitions
back. Two processes of one name would take them from each other for ever.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from volsvc.domain import StartupError
from volsvc.safe_io.disk import take_lock

# Instances on one host; far more than it can run.
MAX_INSTANCES = 1_000


class InstanceName:
    """A name that no other running process of this user has on this host, until `release`."""

    def __init__(self, wanted: str, folder: Path | None = None) -> None:
        """Take `wanted`, or `wanted-2` and so on if it is taken.

        The first free one is taken, so that a restart gets its former name. Raises StartupError if
        the locks cannot be created.
        """
        place = folder or Path(tempfile.gettempdir()) / f"volsvc-{os.getuid()}"
        stem = re.sub(r"[^A-Za-z0-9._-]", "_", wanted)
        try:
            # Private to the user: in a shared folder another user could hold the locks.
            place.mkdir(mode=0o700, exist_ok=True)
            self.name, self._lock = _first_free(place, stem)
        except OSError as error:
            raise StartupError(f"{place}: names of instances cannot be kept: {error}") from error

    def release(self) -> None:
        """Release the name for another process."""
        os.close(self._lock)


def _first_free(place: Path, stem: str) -> tuple[str, int]:
    """Return the first free name and the file descriptor that holds its lock."""
    for number in range(1, MAX_INSTANCES + 1):
        name = stem if number == 1 else f"{stem}-{number}"
        lock = take_lock(place / f"{name}.lock")
        if lock is not None:
            return name, lock
    raise StartupError(f"{place}: {MAX_INSTANCES} instances named {stem} run on this host")
