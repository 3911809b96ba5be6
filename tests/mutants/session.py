"""A pytest plugin: collect the tests once, then run those that reach a mutant in a fork each.

mutmut's own runner starts pytest anew for each mutant, which takes a second or more; a fork of a
process that has collected the tests takes some milliseconds.
"""

from __future__ import annotations

import gc
import importlib
import os
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.mutants.forks import Answer, Fork, Silent, end, first, fork, limit_cpu
from tests.mutants.switch import recorded, turn_on

# With a mutant, a test may take so many times its CPU time, and some seconds more; the tests of a
# mutant may take so many times their time, for mutants that wait for ever.
CPU_S, CPU_TIMES = 2.0, 5.0
WALL_S, WALL_TIMES = 15.0, 8.0
# All tests without a mutant.
WHOLE_S = 1200.0

# Hypothesis shrinks no example, because it is seen by nobody.
settings.register_profile(
    "mutants",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=30,
    stateful_step_count=20,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)

# Is given a test and the call that runs it.
Around = Callable[[str, Callable[[], object]], None]

Found = TypeVar("Found")

Verdict = Literal["killed", "survived", "timed out", "not reached", "not tested"]


class Order(msgspec.Struct, frozen=True):
    """A mutant to test, by the tests that run its statement.

    The test that killed it last time is tried first.
    """

    name: str
    function: str
    statement: tuple[int, int]
    killer: str = ""

    def is_reached(self, lines: Mapping[str, set[int]]) -> bool:
        """Return whether the statement is among lines of functions."""
        start, end = self.statement
        return any(start <= line <= end for line in lines.get(self.function, ()))


class Plan(msgspec.Struct, frozen=True):
    """The work of the plugin."""

    orders: list[Order]
    workers: int
    results: str


class Result(msgspec.Struct, frozen=True):
    """The verdict on a mutant, and the test that killed it."""

    name: str
    verdict: Verdict
    killer: str = ""
    seconds: float = 0.0


class Times(msgspec.Struct, frozen=True):
    """Seconds by test."""

    wall: dict[str, float]
    cpu: dict[str, float]


class Learnt(msgspec.Struct, frozen=True):
    """The reach of the tests: tests by mutant, and the modules that they import late."""

    tests: dict[str, list[str]]
    modules: list[str]
    fastest_first: list[str]


class Failure(msgspec.Struct, frozen=True):
    """A test that failed."""

    test: str
    text: str


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the plan's file from the command line."""
    parser.addoption("--mutants-plan", type=Path, required=True)


def pytest_configure(config: pytest.Config) -> None:
    """Replace the loop over tests."""
    plan = msgspec.json.decode(config.getoption("--mutants-plan").read_bytes(), type=Plan)
    config.pluginmanager.register(Session(plan))


class Session:
    """Runs the tests once to learn what they reach, and then for each mutant."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._items: dict[str, pytest.Item] = {}
        self._times = Times({}, {})
        self._answer: Answer | None = None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Answer with the failure of a test."""
        if report.failed and self._answer:
            self._answer(Failure(report.nodeid, report.longreprtext))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Test every mutant of the plan."""
        if session.testsfailed:
            raise session.Interrupted("the tests cannot be collected")
        self._items = {item.nodeid: item for item in session.items}
        learnt = self._whole(self._learn, Learnt)
        for name in learnt.modules:
            with suppress(Exception):
                importlib.import_module(name)
        gc.collect()
        # What the collection has left behind must not be freed, and warned about, in a test.
        gc.freeze()
        # Beside each other, as for mutants: they must not get into each other's way.
        work = partial(self._time, tests=learnt.fastest_first)
        self._times = self._whole(work, Times, self._plan.workers)
        _show(self._times.cpu)
        self._test_all(learnt.tests)
        return True

    def _learn(self, answer: Answer) -> None:
        """Run the tests as they are, and answer with what they reach."""
        before, tests, times = set(sys.modules), defaultdict(list), {}

        def run(test: str, go: Callable[[], object]) -> None:
            started_s = time.perf_counter()
            with recorded() as lines:
                go()
            times[test] = time.perf_counter() - started_s
            for order in self._plan.orders:
                if order.is_reached(lines):
                    tests[order.name].append(test)

        self._run(answer, list(self._items), run)
        late = [name for name in sys.modules if name not in before]
        fastest_first = sorted(times, key=times.__getitem__)
        answer(Learnt(dict(tests), late, fastest_first))

    def _time(self, answer: Answer, tests: Sequence[str]) -> None:
        """Run the tests in the order in which mutants get them, and answer with their times."""
        times = Times({}, {})

        def run(test: str, go: Callable[[], object]) -> None:
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            go()
            times.wall[test] = time.perf_counter() - wall_s
            times.cpu[test] = time.process_time() - cpu_s

        self._run(answer, tests, run)
        answer(times)

    def _run(self, answer: Answer, tests: Sequence[str], around: Around) -> None:
        """Run tests in this process, which ends with the first failure."""
        self._answer = answer
        # Without a folder of its own, each child would empty the one that all of them share.
        temporary = self._temporary(os.getpid())
        temporary.mkdir(parents=True, exist_ok=True)
        os.environ["PYTEST_DEBUG_TEMPROOT"] = str(temporary)
        items = [self._items[test] for test in tests]
        for item, following in zip(items, [*items[1:], None], strict=True):
            protocol = item.config.hook.pytest_runtest_protocol
            around(item.nodeid, partial(protocol, item=item, nextitem=following))

    def _temporary(self, pid: int) -> Path:
        return Path(self._plan.results).parent / "tmp" / str(pid)

    def _test_all(self, tests: Mapping[str, Sequence[str]]) -> None:
        started, running = time.monotonic(), dict[Fork, Order]()
        with Path(self._plan.results).open("wb") as results:

            def note(result: Result) -> None:
                results.write(msgspec.json.encode(result) + b"\n")
                results.flush()

            try:
                for number, order in enumerate(self._plan.orders, 1):
                    if order.name in tests:
                        running[self._start(order, tests[order.name])] = order
                    else:
                        note(Result(order.name, "not reached"))
                    while len(running) >= self._plan.workers:
                        note(self._next(running))
                    if number % 25 == 0:
                        seconds = time.monotonic() - started
                        _tell(f"{number} of {len(self._plan.orders)} mutants, {seconds:.0f} s")
                while running:
                    note(self._next(running))
            finally:
                for child in running:
                    end(child)

    def _start(self, order: Order, tests: Sequence[str]) -> Fork:
        # The test that killed it last time, and then the fastest first; False sorts before True.
        ordered = sorted(tests, key=lambda test: (test != order.killer, self._times.wall[test]))

        def run(test: str, go: Callable[[], object]) -> None:
            limit_cpu(CPU_S + CPU_TIMES * self._times.cpu[test])
            go()

        def work(answer: Answer) -> None:
            try:
                turn_on(order.name)
            except (LookupError, ValueError) as error:
                answer(error)
            self._run(answer, ordered, run)
            answer(None)

        return fork(work, WALL_S + WALL_TIMES * sum(self._times.wall[test] for test in tests))

    def _whole(self, work: Callable[[Answer], object], kind: type[Found], times: int = 1) -> Found:
        """Run all tests in forks, so that this process stays as the collection left it."""
        running = [fork(work, WHOLE_S) for _ in range(times)]
        try:
            while True:
                child, found = self._first(running)
                running.remove(child)
                if not isinstance(found, kind):
                    text = f"{found.test}\n{found.text}" if isinstance(found, Failure) else found
                    raise pytest.exit.Exception(f"the tests fail without a mutant: {text}", 3)
                if not running:
                    return found
        finally:
            for child in running:
                end(child)

    def _first(self, children: Sequence[Fork]) -> tuple[Fork, object]:
        """Wait for the first child to end, and remove its files."""
        child, found = first(children)
        shutil.rmtree(self._temporary(child.pid), ignore_errors=True)
        return child, found

    def _next(self, running: dict[Fork, Order]) -> Result:
        child, found = self._first(list(running))
        name = running.pop(child).name
        if found is None:
            return Result(name, "survived", "", child.seconds)
        if isinstance(found, Failure):
            return Result(name, "killed", found.test, child.seconds)
        if isinstance(found, Exception):
            raise RuntimeError(f"{name} cannot be turned on") from found
        assert isinstance(found, Silent)
        return Result(name, "timed out" if found.timed_out else "killed", "", child.seconds)


def _show(seconds: Mapping[str, float]) -> None:
    """Show what a mutant costs that every test reaches and none notices."""
    slowest = sorted(seconds, key=seconds.__getitem__)[-3:]
    named = ", ".join(f"{test.rpartition('/')[2]} {seconds[test]:.1f}" for test in slowest)
    _tell(f"{len(seconds)} tests; seconds of CPU: all {sum(seconds.values()):.1f}, {named}")


def _tell(what: str) -> None:
    print(what, file=sys.__stderr__, flush=True)
