"""`make demo`: a day of operation in a few minutes, unattended, narrated and recorded.

A real daemon on a real broker, with an MLflow store, Prometheus and Alertmanager; the terminal
becomes docs/demo.cast, the live page docs/demo.webm; what was measured is added to docs/demo.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.demo.acts import ACTS
from tests.demo.narrator import Narrator
from tests.demo.stage import staged

MOST_S = 480.0
MOST_RUNS = 5
OUT = Path(__file__).parents[2] / "docs"


def keep(path: Path, figures: Mapping[str, float]) -> None:
    """Add the figures of this run to those of the runs before."""
    runs = json.loads(path.read_text())["runs"] if path.exists() else []
    path.write_text(json.dumps({"runs": [*runs, figures][-MOST_RUNS:]}, indent=1) + "\n")


async def play(folder: Path, out: Path) -> None:
    """Run every act in turn; keep the recordings if all of them succeed."""
    narrator = Narrator("volsvc: a day of operation")
    async with asyncio.timeout(MOST_S):
        async with staged(folder, narrator) as stage:
            for act in ACTS:
                await act(stage)
    narrator.say("")
    narrator.say(f"All of it was seen, in {narrator.elapsed_s:.0f} s.")
    narrator.save(out / "demo.cast")
    keep(out / "demo.json", stage.figures)
    stage.film.develop(out / "demo.webm")
    for name in ("demo.cast", "demo.webm"):
        print(f"{out / name}: {(out / name).stat().st_size / 1e6:.2f} MB")


def main() -> None:
    """Run the demo in a temporary folder."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the recordings")
    out: Path = parser.parse_args().out
    with tempfile.TemporaryDirectory(prefix="volsvc-demo-") as folder:
        asyncio.run(play(Path(folder), out))


if __name__ == "__main__":
    main()
