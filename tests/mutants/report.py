"""The sum of the verdicts: figures of a package, and the mutants that nobody has noticed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from tests.mutants.equivalents import Equivalent, Key, key
from tests.mutants.run import Tested

HEAD = (
    "package       mutants  killed  timed out  survived  not reached  not tested  equivalent"
    "  noticed"
)


class Figures(NamedTuple):
    """Numbers of mutants; the equivalent ones are among those that survived."""

    killed: int
    timed_out: int
    survived: int
    not_reached: int
    not_tested: int
    equivalent: int

    @property
    def mutants(self) -> int:
        """All of them."""
        return sum(self) - self.equivalent

    @property
    def percent(self) -> float:
        """The share that was killed of those that can be: the equivalent ones are left out."""
        can_be = self.mutants - self.equivalent
        return 100 * (self.killed + self.timed_out) / can_be if can_be else 100.0

    def row(self, name: str) -> str:
        """Return a line of the table."""
        return (
            f"{name:12} {self.mutants:8} {self.killed:7} {self.timed_out:10} {self.survived:9}"
            f" {self.not_reached:12} {self.not_tested:11} {self.equivalent:11}"
            f" {self.percent:6.1f} %"
        )


def figures(tested: Sequence[Tested], listed: Collection[Key]) -> Figures:
    """Count verdicts."""
    count = Counter(one.result.verdict for one in tested)
    return Figures(
        count["killed"],
        count["timed out"],
        count["survived"],
        count["not reached"],
        count["not tested"],
        sum(not one.killed and key(one.mutant) in listed for one in tested),
    )


def unnoticed(tested: Sequence[Tested], listed: Collection[Key]) -> list[Tested]:
    """Return what survived and is not in the list, in order of places."""
    left = [
        one
        for one in tested
        if one.result.verdict in ("survived", "not reached") and key(one.mutant) not in listed
    ]
    return sorted(left, key=lambda one: (one.mutant.module, one.mutant.line))


def needless(tested: Sequence[Tested], listed: Collection[Equivalent]) -> Iterator[Equivalent]:
    """Yield entries of the list that no surviving mutant needs."""
    modules = {one.mutant.module for one in tested}
    survived = {key(one.mutant) for one in tested if not one.killed}
    yield from (one for one in listed if one.module in modules and one.key not in survived)


def survivor(one: Tested) -> str:
    """Return a survivor's place, function and diff."""
    mutant = one.mutant
    return f"{mutant.place} {mutant.function} ({one.result.verdict})\n{mutant.diff()}\n"


def entry(one: Tested) -> str:
    """Return the entry that the list would have for a survivor, but for its reason."""
    mutant = one.mutant
    texts = {"module": mutant.module, "function": mutant.function}
    texts |= {"before": mutant.before, "after": mutant.after, "reason": ""}
    lines = [f"{name} = {_toml(text)}" for name, text in texts.items()]
    return "\n".join(["[[equivalent]]", *lines, ""])


def _toml(text: str) -> str:
    """Return a literal string where the text has quotes or lines of its own."""
    if "\n" in text:
        return f"'''\n{text}'''"
    return f"'{text}'" if "'" not in text else f"'''{text}'''"
