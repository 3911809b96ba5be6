"""The number of connections that the system's limit on open files allows."""

from __future__ import annotations

import contextlib
import math
import resource

# Files that the process needs besides the connections of its HTTP server: recordings, models,
# journals, connections to a broker and to venues, and those of threads and child processes.
RESERVED_FILES = 256


def most_connections(wanted: int) -> int:
    """Return `wanted`, or fewer if no more files may be open; raises the soft limit if needed."""
    needed = wanted + RESERVED_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _number(soft) < needed:
        soft = int(min(needed, _number(hard)))
        # A container may forbid the call.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    allowed = _number(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    return int(min(wanted, max(allowed - RESERVED_FILES, 1)))


def _number(limit: int) -> float:
    return math.inf if limit == resource.RLIM_INFINITY else limit
