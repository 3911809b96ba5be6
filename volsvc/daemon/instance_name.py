"""A name of this process that is unique among those of its user on its host.

Members of a consumer group have static names, so that a member that restarts gets its partitions
back. Two processes of one name would take them from each other for ever.
"""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from pathlib import Path

from volsvc.domain import StartupError

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
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        lock = os.open(place / f"{name}.lock", flags, 0o600)
        try:
            # The kernel releases the lock however the process ends.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            return name, lock
    raise StartupError(f"{place}: {MAX_INSTANCES} instances named {stem} run on this host")
