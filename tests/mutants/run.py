"""Test the mutants of a package in a folder of its own, and keep the verdicts."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import Pool
from pathlib import Path

import msgspec

from tests.mutants.making import Made, Mutant, make
from tests.mutants.packages import PACKAGES, ROOT, modules
from tests.mutants.session import Order, Plan, Result

CACHE = ROOT / ".cache" / "mutants"
COPIED = ("volsvc", "tests", "deploy", "pyproject.toml", "config.toml", "constraints.txt")
# Bytecode that a concurrent test run is about to rename.
UNFINISHED = shutil.ignore_patterns("*.pyc.*")
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


class Tested(msgspec.Struct, frozen=True):
    """A mutant and what became of it."""

    mutant: Mutant
    result: Result

    @property
    def killed(self) -> bool:
        """True if a test failed or did not end."""
        return self.result.verdict in ("killed", "timed out")


def verdicts(package: str) -> list[Tested]:
    """Return the newest verdict on each mutant of a package."""
    made = [make(module) for module in modules(PACKAGES[package])]
    known = _known(package, made)
    return [
        known.get(mutant.name, Tested(mutant, Result(mutant.name, "not tested")))
        for one in made
        for mutant in one.mutants
    ]


def test(package: str, wanted: Callable[[Mutant, Tested | None], bool], workers: int) -> None:
    """Test the mutants of a package that are wanted, given the last verdict on each."""
    with _folder(package) as folder:
        with Pool(workers) as pool:
            made = pool.map(make, modules(PACKAGES[package]))
        mutants = {mutant.name: mutant for one in made for mutant in one.mutants}
        known = _known(package, made)
        orders = [
            _order(mutant, last)
            for name, mutant in mutants.items()
            if wanted(mutant, last := known.get(name))
        ]
        _fill(folder, made)
        results = folder / "results.ndjson"
        results.unlink(missing_ok=True)
        shutil.rmtree(folder / "tmp", ignore_errors=True)
        try:
            _pytest(package, folder, Plan(orders, workers, str(results)))
        finally:
            for result in _read(results):
                known[result.name] = Tested(mutants[result.name], result)
            (folder / "verdicts.json").write_bytes(msgspec.json.encode(list(known.values())))


def _known(package: str, made: Sequence[Made]) -> dict[str, Tested]:
    """Return the verdicts that still hold, because their functions have not changed."""
    path = CACHE / package / "verdicts.json"
    tested = msgspec.json.decode(path.read_bytes(), type=list[Tested]) if path.exists() else []
    last = {one.mutant.name: one for one in tested}
    return {
        mutant.name: Tested(mutant, old.result)
        for one in made
        for mutant in one.mutants
        if (old := last.get(mutant.name)) and old.mutant.digest == mutant.digest
    }


def _order(mutant: Mutant, last: Tested | None) -> Order:
    killer = last.result.killer if last else ""
    return Order(mutant.name, mutant.owner, mutant.statement, killer)


@contextmanager
def _folder(package: str) -> Iterator[Path]:
    """Yield the folder of a package, for one run at a time."""
    folder = CACHE / package
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def _fill(folder: Path, made: Sequence[Made]) -> None:
    """Copy what the tests need, and put the mutants in."""
    tree = folder / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    for name in COPIED:
        source, target = ROOT / name, tree / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=UNFINISHED)
        else:
            shutil.copy2(source, target)
    for one in made:
        (tree / one.module).write_text(one.code)


def _pytest(package: str, folder: Path, plan: Plan) -> None:
    (folder / "plan.json").write_bytes(msgspec.json.encode(plan))
    tests, without = PACKAGES[package].tests, PACKAGES[package].without
    # pytest's own tracebacks parse the modules again, which the mutants have made very long.
    command = [sys.executable, "-m", "pytest", "-q", "-c", "pyproject.toml", "--tb=native"]
    command += ["-p", "tests.mutants.session", f"--mutants-plan={folder / 'plan.json'}"]
    command += ["--hypothesis-profile=mutants", "--capture=sys", "-p", "no:cacheprovider"]
    command += ["-o", "tmp_path_retention_policy=none"]
    command += ["-m", "not long", *tests, *(f"--deselect={test}" for test in without)]
    environment = {**os.environ, **ONE_THREAD}
    done = subprocess.run(
        command,
        cwd=folder / "tree",
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{package}: the tests cannot be used\n{done.stdout}")


def _read(results: Path) -> Iterator[Result]:
    if results.exists():
        yield from (msgspec.json.decode(line, type=Result) for line in results.open("rb"))
