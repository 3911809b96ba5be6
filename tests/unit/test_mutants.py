"""The machinery of `make mutants`: faults, forks, and the list of equivalent mutants."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.mutants.equivalents import equivalents
from tests.mutants.forks import Answer, Silent, first, fork, limit_cpu
from tests.mutants.making import Made, Mutant, make_from
from tests.mutants.packages import PACKAGES, ROOT, modules
from tests.mutants.page import PAGE, equivalents_table, written
from tests.mutants.session import Order
from tests.mutants.switch import recorded, turn_on

# Python 3.12 warns of a fork where threads run; these children only compute.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

NAME = "volsvc_with_faults"
SOURCE = '''"""A module."""


class Counter:
    """Counts."""

    @classmethod
    def named(cls, text: str) -> tuple[str, int]:
        """Return a name and a number."""
        return text, 1

    async def after(self, count: int = 3) -> int:
        """Return a later number."""
        if count < 0:
            return 0
        return count + 5


def doubled(count: int) -> int:
    return count * 2
'''


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    """The faults of the module above, which can be imported."""
    made = make_from(Path(f"{NAME}.py"), SOURCE, "")
    module = ModuleType(NAME)
    monkeypatch.setitem(sys.modules, NAME, module)
    exec(compile(made.code, NAME, "exec"), module.__dict__)
    return made


def mutant(made: Made, after: str) -> Mutant:
    return next(one for one in made.mutants if one.after == after)


def answer_of(work: Callable[[Answer], object], limit_s: float = 60.0) -> Any:
    _, answer = first([fork(work, limit_s)])
    return answer


def calls() -> tuple[object, ...]:
    module: Any = sys.modules[NAME]
    counter = module.Counter()
    later = asyncio.run(counter.after()), asyncio.run(counter.after(-1))
    return counter.named("a"), *later, module.doubled(4)


@pytest.mark.parametrize(
    ("after", "line", "expected"),
    [
        ("return text, 2", 10, (("a", 2), 8, 0, 8)),
        ("async def after(self, count: int = 4) -> int:", 12, (("a", 1), 9, 0, 8)),
        ("return 1", 15, (("a", 1), 8, 1, 8)),
        ("return count - 5", 16, (("a", 1), -2, 0, 8)),
        ("return count / 2", 20, (("a", 1), 8, 0, 2.0)),
    ],
)
def test_one_fault_at_a_time(made: Made, after: str, line: int, expected: object) -> None:
    """A fault is where it says, and changes what its text says and nothing else."""
    fault = mutant(made, after)

    def work(answer: Answer) -> None:
        turn_on(fault.name)
        answer(calls())

    assert (fault.place, answer_of(work)) == (f"{NAME}.py:{line}", expected)
    assert calls() == (("a", 1), 8, 0, 8), "without a fault"


def test_only_statements_that_run_are_reached(made: Made) -> None:
    """A fault in a branch that is not taken is not reached, and one in its condition is."""
    counter = sys.modules[NAME].Counter()
    with recorded() as lines:
        asyncio.run(counter.after(1))
    reached = {
        one.line
        for one in made.mutants
        if Order(one.name, one.owner, one.statement).is_reached(lines)
    }
    assert reached == {12, 14, 16}


def test_a_child_that_does_not_end_is_ended() -> None:
    """A child out of time is known from one that answers, and from one that only ends."""

    def loops(answer: Answer) -> None:
        limit_cpu(0.05)
        while True:
            pass

    def waits(answer: Answer) -> None:
        time.sleep(3600)

    assert answer_of(lambda answer: answer("done")) == "done"
    assert answer_of(lambda answer: None) == Silent(timed_out=False)
    assert answer_of(loops) == Silent(timed_out=True)
    assert answer_of(waits, limit_s=0.05) == Silent(timed_out=True)


def test_equivalents_are_in_the_code_and_in_the_page() -> None:
    """Each entry has a reason and stands for lines of a module, and docs/testing.md shows it."""
    page = PAGE.read_text()
    assert page == written(page, "equivalents", equivalents_table()), (
        "run python -m tests.mutants.page"
    )
    ours = {str(module) for package in PACKAGES.values() for module in modules(package)}
    for one in equivalents().values():
        assert one.module in ours, one
        lines = [line.strip() for line in (ROOT / one.module).read_text().splitlines()]
        missing = [line for line in one.before.splitlines() if line.strip() not in lines]
        assert (missing, bool(one.reason.strip())) == ([], True), one
