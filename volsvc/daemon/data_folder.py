"""The ownership of a daemon's files on disk: one process writes a `service.data_dir`."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

from volsvc.domain import StartupError
from volsvc.safe_io.disk import take_lock

LOCK: Final = "daemon.lock"


class DataFolder:
    """A folder that no other daemon writes until `release`, or until the process ends.

    Two daemons would break each other's audit log. Commands that only read need no lock.
    """

    def __init__(self, folder: Path) -> None:
        """Raises StartupError, which names the process that owns the folder.

        `fault` is not empty if the folder cannot be written; nobody owns it then.
        """
        self._lock: int | None = None
        self.fault = ""
        path = folder / LOCK
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = take_lock(path)
        except OSError as error:
            self.fault = f"cannot be written: {error.strerror or error}"
            return
        if lock is None:
            raise StartupError(
                f"service.data_dir = '{folder}': {_owner(path)} is running on it; stop that one, "
                "or give this one a folder of its own (VOLSVC_SERVICE__DATA_DIR=...)"
            )
        self._lock = lock
        # On a full disk the lock holds all the same; its holder then has no number in the text.
        with contextlib.suppress(OSError):
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Release the folder for another process."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _owner(path: Path) -> str:
    with contextlib.suppress(OSError, ValueError):
        return f"process {int(path.read_text())}"
    return "another process"
