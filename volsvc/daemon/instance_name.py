"""The name of this process among those of its host.

A consumer group knows its members by name, so that one that restarts gets its partitions back. Two
processes of one name would take them from each other for ever.
"""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from pathlib import Path

from volsvc.domain import StartupError

# Instances on one host; far more than it can carry.
MOST = 1_000


class InstanceName:
    """A name that no other running process of this host and user has; held until `release`."""

    def __init__(self, wanted: str, folder: Path | None = None) -> None:
        """`wanted`, or `wanted-2` and so on where it is taken.

        The first free one, so that a restart finds its own again. Raises StartupError when the
        locks cannot be kept.
        """
        place = folder or Path(tempfile.gettempdir()) / f"volsvc-{os.getuid()}"
        stem = re.sub(r"[^A-Za-z0-9._-]", "_", wanted)
        try:
            place.mkdir(mode=0o700, exist_ok=True)
            self.name, self._lock = _first_free(place, stem)
        except OSError as error:
            raise StartupError(f"{place}: names of instances cannot be kept: {error}") from error

    def release(self) -> None:
        """Let another process have the name."""
        os.close(self._lock)


def _first_free(place: Path, stem: str) -> tuple[str, int]:
    for number in range(1, MOST + 1):
        name = stem if number == 1 else f"{stem}-{number}"
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        lock = os.open(place / f"{name}.lock", flags, 0o600)
        try:
            # The kernel lets go of it however the process ends.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            return name, lock
    raise StartupError(f"{place}: {MOST} instances named {stem} run on this host")
