"""Named points at which a test may stop the process or raise.

A window of a millisecond, such as that between a publication and its commit, is never hit by a
kill at random. So the code names the point, and a test arms it. Nothing else does: there is no
setting and no environment variable, and an unarmed point costs a call and a look at an empty dict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Final, Literal, get_args

Point = Literal[
    # The pipeline, in the order of a tick. A batch of ticks is in the log.
    "ticks_published",
    # Dead letters of a batch are in the log; its outcomes and states are not.
    "dead_letters_published",
    # Outcomes are in the log; the states that no longer hold their forecasts are not.
    "outcomes_published",
    "minutes_published",
    # States are in the log, at the end of a batch or of a flush.
    "states_published",
    # Every changed state is in the log; the offsets are not committed.
    "before_commit",
    # The offsets are committed; the consumer has not noted that yet.
    "after_commit",
    # The store's transaction has everything; it is not committed.
    "store_written",
    # The store's transaction is committed, and nobody knows it yet.
    "store_committed",
    # Files. The audit log's full file has its final name, and there is no new one.
    "audit_log_rotated",
    # The audit log's file is open, and new if there was none; the entry is not written.
    "audit_log_opened",
    # The new contents of a file are written beside the old ones.
    "file_written",
]
POINTS: Final[frozenset[str]] = frozenset(get_args(Point))

_armed: dict[str, Callable[[], None]] = {}


def failpoint(name: Point) -> None:
    """Mark a point, and do what a test has armed there."""
    if _armed:
        _reached(name)


def _reached(name: Point) -> None:
    _check(name)
    if name in _armed:
        _armed[name]()


@contextmanager
def armed(name: Point, action: Callable[[], None], *, after: int = 0) -> Iterator[None]:
    """Have `action` called whenever a point is reached, but for the first `after` times.

    Raises ValueError for an unknown point.
    """
    _check(name)
    passes = count()

    def act() -> None:
        if next(passes) >= after:
            action()

    _armed[name] = act
    try:
        yield
    finally:
        del _armed[name]


def _check(name: str) -> None:
    if name not in POINTS:
        raise ValueError(f"{name!r} is no failpoint: {', '.join(sorted(POINTS))}")
