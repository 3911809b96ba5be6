"""`python -m tests.mutants.page` writes figures and equivalent mutants into docs/testing.md."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from tests.mutants.equivalents import Equivalent, equivalents
from tests.mutants.packages import PACKAGES, ROOT
from tests.mutants.report import Figures, figures
from tests.mutants.run import verdicts

PAGE = ROOT / "docs" / "testing.md"
BLOCK = "<!-- {0}: python -m tests.mutants.page makes this table -->\n{1}<!-- /{0} -->\n"


def figures_table() -> str:
    """Return the figures of the last verdicts on each package."""
    listed = equivalents()
    rows = []
    for name in PACKAGES:
        found = figures(verdicts(name), listed)
        rows.append((f"`{name}`", str(found.mutants), *map(str, found), f"{found.percent:.1f} %"))
    columns = (
        "package",
        "mutants",
        *(column.replace("_", " ") for column in Figures._fields),
        "noticed",
    )
    return _table(columns, rows)


def equivalents_table() -> str:
    """Return the list of mutants that no test can kill."""
    rows = [
        (f"`{one.module.removeprefix('volsvc/')}`, `{one.function}`", _change(one), one.reason)
        for one in sorted(equivalents().values(), key=lambda one: one.key)
    ]
    return _table(("function", "change", "why nothing can tell"), rows)


def _change(one: Equivalent) -> str:
    before, after = (" ".join(text.split()) for text in (one.before, one.after))
    return f"`` {before} `` → `` {after or 'nothing'} ``"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines
    )


def written(page: str, name: str, table: str) -> str:
    """Return the page with a table in its place."""
    block = BLOCK.format(name, table)
    return re.sub(BLOCK.format(name, ".*?"), lambda _: block, page, flags=re.DOTALL)


def main() -> None:
    """Write both tables."""
    page = written(PAGE.read_text(), "figures", figures_table())
    PAGE.write_text(written(page, "equivalents", equivalents_table()))


if __name__ == "__main__":
    main()
