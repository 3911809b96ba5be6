"""`make fuzz`: millions of inputs to the tick decoder and to the reader of request bodies.

It ends with 0 after so many inputs or minutes, whichever is first; with 1 and the input at once
when one is not refused as it should be, or takes too long.
"""

from __future__ import annotations

import argparse
import faulthandler
import itertools
import multiprocessing
import os
import sys
import time
from pathlib import Path

from tests.fuzz.mutation import inputs
from tests.fuzz.targets import TARGETS

SLOW_S = 2.0
HANG_S = 30.0
CHUNK = 1_000


def fuzz(name: str, most: int, seconds: float, seed: int) -> int:
    """Feed one target, and return the number of inputs; raises AssertionError with the input."""
    target, seeds = TARGETS[name]
    # The first forecasts may wait for the compiler.
    for data in seeds:
        target(data)
    deadline, count = time.monotonic() + seconds, 0
    stream = inputs(seeds, seed)
    while count < most and time.monotonic() < deadline:
        # One timer a chunk: a hang ends the process with the place where it hangs.
        faulthandler.dump_traceback_later(HANG_S, exit=True)
        for data in itertools.islice(stream, CHUNK):
            started = time.perf_counter()
            try:
                target(data)
            except Exception as error:
                raise AssertionError(f"{name}: {error!r} for {data[:2_000]!r}") from error
            took = time.perf_counter() - started
            assert took < SLOW_S, f"{name}: {took:.1f} s for {data[:2_000]!r}"
        count += CHUNK
    faulthandler.cancel_dump_traceback_later()
    return count


def _work(name: str, most: int, seconds: float, seed: int) -> None:
    started = time.monotonic()
    try:
        count = fuzz(name, most, seconds, seed)
    except AssertionError as error:
        print(error, file=sys.stderr, flush=True)
        Path(f"fuzz-{name}-{seed}.txt").write_text(str(error))
        sys.exit(1)
    took = time.monotonic() - started
    print(f"{name}: {count:,} inputs in {took:.0f} s, seed {seed}: nothing found", flush=True)


def main() -> None:
    """Run every target in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=5_000_000, help="of each target")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3)))
    options = parser.parse_args()
    works = [
        multiprocessing.Process(
            target=_work, args=(name, options.inputs, 60 * options.minutes, options.seed)
        )
        for name in TARGETS
    ]
    for work in works:
        work.start()
    for work in works:
        work.join()
    sys.exit(max(abs(work.exitcode or 0) for work in works))


if __name__ == "__main__":
    main()
