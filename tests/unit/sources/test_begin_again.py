"""Sources that begin again, or have a past in files, tell of what they do not have."""

from __future__ import annotations

from pathlib import Path

from structlog.testing import capture_logs

from tests.unit.sources.replays import FAST, NOW_NS, Events
from volsvc.domain import NS
from volsvc.sources.base import KnownTick, nothing_known
from volsvc.sources.history import History
from volsvc.sources.recordings.tables.options import RowOptions
from volsvc.sources.replay import GeneratorSource

# 2026-01-05T00:00Z.
START_S = 1_767_571_200


async def test_a_generator_leaves_an_id_out_where_it_was_off() -> None:
    """So the time in which nothing was generated is a gap, in quality and of the scores."""
    known = KnownTick(NOW_NS - 60 * NS, 100.0, 41)
    source = GeneratorSource(("BTC-USD",), 5, FAST, Events(), lambda: NOW_NS, lambda _: known)
    async for batch in source.batches(lambda row: False):
        assert batch[0].tick.trade_id == 43
        break


def test_a_history_that_helps_nobody_is_told(tmp_path: Path) -> None:
    """A symbol that it lacks, or bars that are not from before a tick, are a line in the log."""
    path = tmp_path / "bars.csv"
    path.write_text(
        "symbol,time,open,high,low,close,volume\n"
        + "".join(f"A-USD,{START_S + 60 * n},1,1,1,1,1\n" for n in range(10))
    )
    history = History(path, RowOptions(), 2, nothing_known)
    with capture_logs() as logs:
        assert history.past_of("A-USD", (START_S + 600) * NS) is not None
        assert history.past_of("B-USD", (START_S + 600) * NS) is None
        assert history.past_of("A-USD", (START_S + 9 * 86_400) * NS) is None
    assert [(line["event"], line["reason"], line["symbol"]) for line in logs] == [
        ("history_unused", "no such symbol", "B-USD"),
        ("history_unused", "no bars in time", "A-USD"),
    ]
