"""Pipes as recordings: standard input, named pipes, and what `<(command)` of a shell makes."""

from __future__ import annotations

import os
import select
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from volsvc.domain import SourceError
from volsvc.sources.lines import CHUNK, DAMAGE, MAX_LINE, inflated

STDIN: Final = (Path("-"), Path("/dev/stdin"))
# Time after which a reader of a silent pipe may look if it is to stop.
WAIT_MS: Final = 100
MAGIC: Final = {b"\x1f\x8b": ".gz", b"\x28\xb5\x2f\xfd": ".zst"}
PARQUET: Final = b"PAR1"


def is_pipe(path: Path) -> bool:
    """Return True for standard input, and for anything else that can be read only once."""
    if path in STDIN:
        return True
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def pipe_chunks(path: Path) -> Iterator[bytes]:
    """Yield what comes through a pipe; empty bytes, and then a short wait, while nothing comes.

    Raises SourceError if it cannot be opened.
    """
    try:
        # Without O_NONBLOCK, opening a named pipe waits for somebody who writes to it. Standard
        # input is shared with other processes, on which the flag would fall too.
        pipe = os.dup(0) if path in STDIN else os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise SourceError(f"{path}: cannot be opened: {error.strerror}") from error
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    try:
        while True:
            if not poll.poll(0):
                yield b""
                poll.poll(WAIT_MS)
            elif chunk := os.read(pipe, CHUNK):
                yield chunk
            else:
                return
    finally:
        os.close(pipe)


def sniffed(head: bytes, *, whole: bool = False) -> str:
    """Return the extension that a file with these first bytes should have.

    Empty if they do not suffice, unless they are the whole. Raises one of `lines.DAMAGE`.
    """
    if len(head) < len(PARQUET) and not whole:
        return ""
    if head.startswith(PARQUET):
        return ".parquet"
    compression = next((name for magic, name in MAGIC.items() if head.startswith(magic)), "")
    text = b""
    # The head ends where it happens to end.
    with suppress(EOFError):
        text = next(filter(None, inflated([head], compression)), b"").lstrip()
    if not text and not whole and len(head) < MAX_LINE:
        return ""
    return (".ndjson" if text[:1] in (b"{", b"[") else ".csv") + compression


@contextmanager
def seekable(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Yield the paths with files in the place of pipes, for readers that read more than once.

    A pipe is copied to its end. The copies are deleted at exit. Raises SourceError.
    """
    with ExitStack() as stack:
        yield [
            _copied(path, Path(stack.enter_context(tempfile.TemporaryDirectory())))
            if is_pipe(path)
            else path
            for path in paths
        ]


def _copied(pipe: Path, folder: Path) -> Path:
    copy = folder / "stdin"
    try:
        with copy.open("wb") as file:
            file.writelines(pipe_chunks(pipe))
        with copy.open("rb") as file:
            extension = sniffed(file.read(MAX_LINE), whole=True)
        return copy.rename(copy.with_suffix(extension))
    except DAMAGE as error:
        raise SourceError(f"{pipe}: cannot be copied: {error}") from error
