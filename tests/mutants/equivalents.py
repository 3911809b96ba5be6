"""The mutants that no test can kill, with the reason of each: equivalents.toml."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec

from tests.mutants.making import Mutant

FILE = Path(__file__).with_name("equivalents.toml")

Key = tuple[str, str, str, str]


class Equivalent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A change that has no effect; it is known by its text, which outlives a shift of lines."""

    module: str
    function: str
    before: str
    after: str
    reason: str

    @property
    def key(self) -> Key:
        """The text that it has in common with its mutant."""
        return (self.module, self.function, self.before.strip(), self.after.strip())


class _File(msgspec.Struct, forbid_unknown_fields=True):
    equivalent: list[Equivalent] = []


def key(mutant: Mutant) -> Key:
    """Return what a mutant has in common with its entry in the list."""
    return (mutant.module, mutant.function, mutant.before, mutant.after)


def equivalents() -> dict[Key, Equivalent]:
    """Return the list; raises ValueError if an entry stands twice."""
    found = msgspec.convert(tomllib.loads(FILE.read_text()), _File).equivalent
    listed = {one.key: one for one in found}
    if len(listed) < len(found):
        raise ValueError(f"{FILE.name}: an entry stands twice")
    return listed
