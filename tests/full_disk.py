"""A disk that refuses data in the middle of a write."""

from __future__ import annotations

import contextlib
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def files_end_at(size: int, pid: int = 0) -> Iterator[None]:
    """Let the system refuse to make files longer than `size` bytes, as a full disk does.

    `pid` is another process to which that happens.
    """
    limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[bool]:
    """Make a folder that is a disk of `size` bytes.

    Yields False where the system lets nobody mount one: the folder is an ordinary one then.
    """
    folder.mkdir()
    mounted = False
    if shutil.which("mount"):
        mount = ("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Fill the disk of a folder, but for the ends of files' last blocks, until the block ends."""
    filler = folder / "filler"
    try:
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4_096)):
                pass
        yield
    finally:
        filler.unlink()
