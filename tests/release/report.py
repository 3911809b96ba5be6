"""`python -m tests.release.report` writes the tables of docs/report.md from what was measured."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Mapping

from tests.release.environment import ROOT
from tests.release.figures import (
    DOCS,
    forecasts,
    from_ticks,
    markdown,
    speed,
    under_faults,
    under_load,
)

PAGE = DOCS / "report.md"
PLACE = re.compile(r"(<!-- (\S+): begin -->\n).*?(<!-- \2: end -->)", re.DOTALL)
NOT_MEASURED = "Not measured on this machine yet: `make bench`, then `make report`."


def tables() -> Mapping[str, str]:
    """Return the tables by the name of their place."""
    fast = speed()
    walked = forecasts("walk-forward", "make reports BARS=FOLDER")
    modern = forecasts("modern-markets", "make reports PANEL=FOLDER FORMER=FILE")
    newest = forecasts("newest", "make reports NEWEST=FOLDER")
    return {
        "walk-forward": markdown(walked),
        "modern-markets": markdown(modern),
        "newest": markdown(newest),
        "ticks": markdown(from_ticks()),
        "speed": markdown(fast) if fast is not None else NOT_MEASURED,
        "load": markdown(under_load()),
        "faults": markdown(under_faults()),
    }


def written(text: str) -> str:
    """Return the page with its current tables."""
    made = tables()
    return PLACE.sub(lambda found: f"{found[1]}{made[found[2]]}\n{found[3]}", text)


def main() -> int:
    """Write the page from the newest benchmarks; with `--check`, only compare."""
    old = PAGE.read_text()
    if "--check" in sys.argv:
        return int(written(old) != old)
    measured = sorted((ROOT / "var" / "benchmarks").glob("*.json"))
    if measured:
        shutil.copy(measured[-1], DOCS / "performance.json")
    PAGE.write_text(written(old))
    return 0


if __name__ == "__main__":
    sys.exit(main())
