"""`python -m tests.docs.settings` writes the table of settings in docs/setup.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
CONFIG, PAGE = ROOT / "config.toml", ROOT / "docs" / "setup.md"
BEGIN = "<!-- settings: python -m tests.docs.settings makes this table from config.toml -->\n"
END = "<!-- /settings -->\n"
SECTION = re.compile(r"^\[([a-z.]+)\]$")
KEY = re.compile(r"^(?P<off># )?(?P<key>[a-z0-9_]+) = (?P<value>.*?)\s+# (?P<meaning>.+)$")


class Setting(NamedTuple):
    """A key of the configuration; `default` is empty if the key is commented out."""

    key: str
    default: str
    meaning: str


def settings() -> Iterator[Setting]:
    """Yield every key of config.toml, commented out or not, in its order."""
    section = ""
    for line in CONFIG.read_text().splitlines():
        if found := SECTION.match(line):
            section = found[1]
        elif section and (found := KEY.match(line)):
            default = "" if found["off"] else found["value"]
            yield Setting(f"{section}.{found['key']}", default, found["meaning"])


def table() -> str:
    """Return the table in the form of docs/setup.md."""
    lines = ["| key | default | meaning |", "| --- | --- | --- |"]
    for key, default, meaning in settings():
        shown = f"`{default}`" if default else ""
        lines.append(f"| `{key}` | {shown} | {meaning.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


def written(page: str) -> str:
    """Return the page with the current table."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table()}{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
