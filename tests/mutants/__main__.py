"""`make mutants`: plant small faults in the packages that matter most, one at a time.

ARGS names packages, or modules such as volsvc/features/history.py; without them every package is
tested. It ends with 1 if the tests of a package kill less than 90 % of the mutants that are not
in equivalents.toml, or if that list has an entry that no surviving mutant needs.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Collection
from pathlib import Path

from tests.mutants.equivalents import equivalents
from tests.mutants.making import Mutant
from tests.mutants.packages import PACKAGES, package_of
from tests.mutants.report import HEAD, entry, figures, needless, survivor, unnoticed
from tests.mutants.run import Tested, test, verdicts

LEAST_PERCENT = 90.0


def main() -> int:
    """Test mutants, show what survives, and return the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options = _options()
    try:
        return _run(options)
    except KeyboardInterrupt:
        print("interrupted; the verdicts so far are kept: go on with --survivors", file=sys.stderr)
        return 130


def _run(options: argparse.Namespace) -> int:
    failed = [
        package
        for package, modules in _chosen(options.what).items()
        if not _judge(package, modules, options)
    ]
    if failed:
        print(f"not enough: {', '.join(failed)}")
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.mutants", description=__doc__)
    parser.add_argument("what", nargs="*", help="packages or modules; every package by default")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--survivors", action="store_true", help="test those only that were not killed last time"
    )
    what.add_argument("--show", action="store_true", help="show the last verdicts; test nothing")
    parser.add_argument(
        "--toml", action="store_true", help="print survivors as entries of equivalents.toml"
    )
    return parser.parse_args()


def _chosen(names: Collection[str]) -> dict[str, set[str]]:
    """Return the packages to test, and the modules if not all of a package's."""
    chosen: dict[str, set[str]] = {}
    for name in names or PACKAGES:
        if name in PACKAGES:
            chosen[name] = set()
        elif package := package_of(Path(name)):
            chosen.setdefault(package, set()).add(name)
        else:
            sys.exit(f"{name} is none of {', '.join(PACKAGES)}, and no module of theirs")
    return chosen


def _judge(package: str, modules: Collection[str], options: argparse.Namespace) -> bool:
    """Test a package or some of its modules, print what comes of it, and tell if it is enough."""

    def wanted(mutant: Mutant, last: Tested | None) -> bool:
        chosen = not modules or mutant.module in modules
        return chosen and not (options.survivors and last and last.killed)

    started = time.monotonic()
    if not options.show:
        test(package, wanted, options.workers)
    listed = equivalents()
    tested = [one for one in verdicts(package) if not modules or one.mutant.module in modules]
    if all(one.result.verdict == "not tested" for one in tested):
        print(f"{package}: nothing is tested yet", file=sys.stderr)
    for one in unnoticed(tested, listed):
        print(entry(one) if options.toml else survivor(one))
    found, left = figures(tested, listed), list(needless(tested, listed.values()))
    for stale in left:
        print(f"equivalents.toml lists what no mutant needs: {stale}")
    print(f"{HEAD}\n{found.row(package)}   in {time.monotonic() - started:.0f} s\n", flush=True)
    return found.percent >= LEAST_PERCENT and not left


if __name__ == "__main__":
    sys.exit(main())
