"""Work in forks of this process: each answers once, or is ended when its time is up."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any, NamedTuple, NoReturn

# A fault that allocates without end must not take the machine with it.
MOST_BYTES = 8 << 30
PR_SET_PDEATHSIG = 1

Answer = Callable[[Any], NoReturn]


class Fork(NamedTuple):
    """A child process, until it has answered."""

    pid: int
    answers: Connection
    started: float
    deadline: float

    @property
    def seconds(self) -> float:
        """The time since it was started."""
        return time.monotonic() - self.started


class Silent(NamedTuple):
    """The answer for a child that ended without one."""

    timed_out: bool


def fork(work: Callable[[Answer], object], limit_s: float) -> Fork:
    """Start work in a child; it ends the child with an answer."""
    ours, theirs = Pipe(duplex=False)
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None:
            stream.flush()
    pid = os.fork()
    if not pid:
        ours.close()
        _be_child(work, theirs)
    theirs.close()
    with suppress(OSError):
        os.setpgid(pid, pid)
    now = time.monotonic()
    return Fork(pid, ours, now, now + limit_s)


def _be_child(work: Callable[[Answer], object], answers: Connection) -> NoReturn:
    os.setpgid(0, 0)
    # It ends with its parent: Ctrl-C does not reach a group of its own. Only Linux has this call.
    with suppress(AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))

    def answer(value: object) -> NoReturn:
        answers.send(value)
        os._exit(0)

    with suppress(BaseException):
        work(answer)
    os._exit(1)


def limit_cpu(seconds: float) -> None:
    """End this child when it has had so much CPU time from now: a busy machine changes little."""
    signal.setitimer(signal.ITIMER_PROF, seconds)


def first(forks: Sequence[Fork]) -> tuple[Fork, Any]:
    """Wait for the first child to end, and return it with its answer or `Silent`."""
    left_s = min(fork.deadline for fork in forks) - time.monotonic()
    ready = wait([fork.answers for fork in forks], max(left_s, 0))
    for child in forks:
        if child.answers in ready:
            try:
                return child, child.answers.recv()
            except EOFError:
                return child, Silent(timed_out=_reap(child) == -signal.SIGPROF)
            finally:
                end(child)
    late = min(forks, key=lambda child: child.deadline)
    end(late)
    return late, Silent(timed_out=True)


def end(child: Fork) -> None:
    """End a child and what it has started."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    _reap(child)
    child.answers.close()


def _reap(child: Fork) -> int:
    """Wait for the end of a child, and return its exit code: a signal's is negative."""
    with suppress(ChildProcessError):
        return os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
    return 0
