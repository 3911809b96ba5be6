"""How a job says what it took: from its first record to its last answer."""

from __future__ import annotations

import json
import time


class Stopwatch:
    """Starts at the first record; `begun_at` is how many had come by then."""

    def __init__(self) -> None:
        self._wall = self._cpu = 0.0
        self.begun_at = 0

    @property
    def running(self) -> bool:
        """Whether the first record has come."""
        return self._wall > 0

    def start(self, seen: int = 0) -> None:
        """The first record is here."""
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        self.begun_at = seen

    def say(self, count: int) -> None:
        """Print what so many records took, as the benchmark reads it."""
        seconds, cpu_s = time.perf_counter() - self._wall, time.process_time() - self._cpu
        print(json.dumps({"count": count - self.begun_at, "seconds": seconds, "cpu_s": cpu_s}))
