"""Timing of a job, from its first record to its last answer."""

from __future__ import annotations

import json
import time


class Stopwatch:
    """A stopwatch that starts at the first record; `begun_at` is the number of records by then."""

    def __init__(self) -> None:
        self._wall = self._cpu = 0.0
        self.begun_at = 0

    @property
    def running(self) -> bool:
        """True once the first record has come."""
        return self._wall > 0

    def start(self, records: int = 0) -> None:
        """Start the stopwatch."""
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        self.begun_at = records

    def print_result(self, count: int) -> None:
        """Print the time of `count` records as one line of JSON."""
        seconds, cpu_s = time.perf_counter() - self._wall, time.process_time() - self._cpu
        print(json.dumps({"count": count - self.begun_at, "seconds": seconds, "cpu_s": cpu_s}))
