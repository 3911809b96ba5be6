"""The report and the demo's recordings agree with the measurements and the acts."""

from __future__ import annotations

import json
from pathlib import Path

from tests.demo import acts, market
from tests.release.environment import ROOT
from tests.release.report import PAGE, tables, written

DOCS = ROOT / "docs"
MOST_BYTES = 3_000_000


def test_the_report_says_what_was_measured() -> None:
    """Each table of the page has the figures of the kept runs; `make report` updates it."""
    text = PAGE.read_text()
    assert written(text) == text
    assert all(f"<!-- {place}: begin -->" in text for place in tables())


def test_the_cast_can_be_played() -> None:
    """The recording is asciicast v2 with rising times, and has every act and the end."""
    header, *events = map(json.loads, (DOCS / "demo.cast").read_text().splitlines())
    assert header["version"] == 2
    times = [time for time, _, _ in events]
    assert times == sorted(times)
    assert times[-1] < 480
    assert {kind for _, kind, _ in events} == {"o"}
    said = "".join(text for _, _, text in events)
    assert said.count("\x1b[1m") == len(acts.ACTS) + 1, "the broker's failure is told in two parts"
    assert "All of it was seen" in said


def test_the_recordings_are_small() -> None:
    """The video is a WebM of a modest size."""
    video = (DOCS / "demo.webm").read_bytes()
    assert video.startswith(b"\x1aE\xdf\xa3")
    assert len(video) < MOST_BYTES


def test_recordings_of_the_market_go_on_where_others_end(tmp_path: Path) -> None:
    """Two parts equal the whole cut in two, and prices are coarse from their hour on only."""
    for name, hours in (("whole", range(2)), ("first", range(1)), ("second", range(1, 2))):
        market.write(tmp_path / name, hours, seed=5, coarse_from=1)
    whole, first, second = (
        (tmp_path / name).read_text().splitlines()[1:] for name in ("whole", "first", "second")
    )
    assert whole == first + second
    prices = [{row.split(",")[2] for row in part if ",BTC-USD," in row} for part in (first, second)]
    assert len(prices[1]) < 20 < len(prices[0])
