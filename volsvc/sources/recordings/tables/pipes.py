"""Pipes as recordings: standard input, named pipes, and what `<(command)` of a shell makes."""

from __future__ import annotations

import os
import select
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from volsvc.domain import SourceError
from volsvc.sources.recordings.tables.lines import CHUNK

STDIN: Final = (Path("-"), Path("/dev/stdin"))
# Time after which a reader of a silent pipe may look if it is to stop.
WAIT_MS: Final = 100


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
        return copy
    except OSError as error:
        raise SourceError(f"{pipe}: cannot be copied: {error}") from error
