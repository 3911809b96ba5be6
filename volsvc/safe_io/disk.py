"""Files that are whole after a crash or on a full disk, and locks that end with their process."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

from volsvc.failpoints import failpoint


@contextlib.contextmanager
def replacing(path: Path, *, mode: int = 0o666) -> Iterator[Path]:
    """Yield an empty file to write, which becomes `path` in one step at the end of the block.

    A crash, a full disk or an error of the block leaves the file as it was. The new file has the
    permissions and the owner of the old one; the first one has `mode`, less the umask. Raises
    OSError.
    """
    # A link stays a link.
    target = path.resolve()
    # The name keeps its ending, which selects format and compression.
    part = target.with_name(f".{os.urandom(4).hex()}.{target.name}")
    try:
        final = _create(part, mode, target)
        yield part
        part.chmod(final)
        put_in_place(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def replace_file(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Replace the contents of a file as `replacing` does; raises OSError."""
    with replacing(path, mode=mode) as part:
        part.write_bytes(data)


def put_in_place(part: Path, target: Path) -> None:
    """Rename a complete file, whose bytes are on the disk before its name is; raises OSError."""
    _sync(part)
    failpoint("file_written")
    part.replace(target)
    # Some file systems cannot sync a folder; the file itself is in place then.
    with contextlib.suppress(OSError):
        _sync(target.parent)


def _create(part: Path, mode: int, like: Path) -> int:
    """Create a file with the owner of another; return the permissions that it is to have."""
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with contextlib.suppress(FileNotFoundError):
            old, new = like.stat(), os.fstat(descriptor)
            # Refused to all but root: the owner would be locked out of a file that changes hands.
            if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
                os.fchown(descriptor, old.st_uid, old.st_gid)
            # Never more open than the old one, yet its owner has to write it first.
            os.fchmod(descriptor, stat.S_IMODE(old.st_mode) | stat.S_IWUSR)
            return stat.S_IMODE(old.st_mode)
        return stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_whole(file: FileIO, size: int, data: bytes) -> int:
    """Write data behind the first `size` bytes of an unbuffered file; return its new size.

    What stands behind them is cut: the part of a write that a full disk has refused, here or, if
    even that fails, in the next call. Raises OSError.
    """
    # Never longer than the file: a gap would be filled with zeros.
    size = min(size, os.fstat(file.fileno()).st_size)
    file.truncate(size)
    file.seek(size)
    rest = memoryview(data)
    try:
        # A write may take only a part of the data.
        while rest:
            rest = rest[file.write(rest) :]
    except OSError:
        with contextlib.suppress(OSError):
            file.truncate(size)
        raise
    return size + len(data)


def take_lock(path: Path) -> int | None:
    """Return a descriptor that holds the lock of a file until it is closed; None if it is taken.

    The kernel releases the lock however the process ends. Raises OSError.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    lock = os.open(path, flags, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    except OSError:
        os.close(lock)
        raise
    return lock
