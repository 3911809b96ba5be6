"""Every benchmark in a small form, and equality of fast and slow paths to the last bit."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest

from tests.benchmarks import (
    curves,
    engine,
    fitting,
    inference,
    latency,
    limits,
    page,
    processes,
    reading,
    serving,
    versions,
)
from tests.benchmarks.consuming import table_of, through
from tests.benchmarks.figures import Figure, Results, Row, at_least, at_most
from tests.benchmarks.market import tick_records
from tests.benchmarks.rounds import SMOKE, Bench
from tests.web.serving import serving as served
from volsvc.models import packaged

pytestmark = pytest.mark.long

Part = Callable[[Bench], Results | Awaitable[Results]]

ROW = {"ret_mean": 1e-6, "ret_std": 3e-5, "n": 49, "span_s": 10.0}
PARTS = [
    pytest.param(serving.measure, id="http"),
    pytest.param(inference.measure, id="inference"),
    pytest.param(engine.measure, id="engine"),
    pytest.param(versions.measure, id="versions"),
    pytest.param(reading.measure, id="reading"),
    pytest.param(curves.measure, id="curves"),
    pytest.param(latency.in_process, id="latency"),
    pytest.param(processes.measure, id="processes"),
    pytest.param(fitting.measure, id="fitting"),
    pytest.param(limits.measure, id="limits"),
]


def finite(results: Results) -> None:
    """Check that there are figures, and that each is finite."""
    figures = [row.ours for row in results.rows]
    figures += [row.reference for row in results.rows if row.reference is not None]
    assert figures or results.curves
    assert all(math.isfinite(value) for figure in figures for value in figure.rounds)
    points = [at for curve in results.curves for line in curve.lines.values() for at in line]
    assert all(math.isfinite(y) and y > 0 for _, y in points)


async def results_of(part: Part, bench: Bench) -> Results:
    """Return the results of a part; one that is not asynchronous may run its own loops."""
    found = await asyncio.to_thread(part, bench)
    return found if isinstance(found, Results) else await found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", PARTS)
async def test_a_benchmark_runs(part: Part, tmp_path: Path) -> None:
    """A benchmark runs in its smallest form, without the peers, and gives finite figures."""
    finite(await results_of(part, Bench(SMOKE, tmp_path)))


def test_the_page(tmp_path: Path) -> None:
    """The measured part of the page is replaced, and the text around it stays."""
    ours, theirs = Figure("volsvc", "µs", [2.0, 4.0, 3.0]), Figure("other", "µs", [4.0, 4.0, 4.0])
    rows = [
        Row("a", ours, theirs, at_least(0.7)),
        Row("b", ours, None, at_most(3, "figure")),
        Row("c", ours),
    ]
    text = f"before\n{page.BEGIN}\nold\n{page.END}\nafter"
    shown = page.written_into(text, page.section(Results(rows), "machine", "images"))
    assert shown.startswith("before\n")
    assert shown.endswith("\nafter")
    assert "old" not in shown
    assert "| a | 3.00 µs | 4.00 µs, other | 0.750 | at least 0.7x | yes |" in shown
    assert "| b | 3.00 µs |  |  | at most 3 µs | yes |" in shown
    assert "2 of 2 targets" in shown
    with pytest.raises(ValueError, match="markers"):
        page.written_into("no markers", "")


async def test_rows_read_fast_and_slowly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row gives the same bits alone, among many, and through the reader that explains faults."""
    monkeypatch.chdir(tmp_path)
    rows = [{**ROW, "ret_std": 1e-5 * (1 + at / 7)} for at in range(100)]
    plain = json.dumps({"rows": [{**row, "symbol": "B"} for row in rows]})
    escaped = plain.replace('"B"', '"\\u0042"')
    async with served({"model": {"variant": "ml"}}) as (client, _):
        many, slow = await predicted(client, plain), await predicted(client, escaped)
        alone = [await predicted(client, json.dumps({"rows": [row]})) for row in rows[:10]]
    assert slow == many
    assert [each[0] for each in alone] == many[:10]


async def predicted(client: aiohttp.ClientSession, body: str) -> list[tuple[Any, Any]]:
    """Return score and prediction of each row of a request."""
    async with client.post("/predict", data=body) as response:
        assert response.status == 200
        answer = await response.json()
    return list(zip(answer["scores"], answer["predictions"], strict=True))


def test_live_rows_alone_and_together() -> None:
    """The fitted model gives a live row the same bits alone and among others."""
    model, rows = packaged().model, inference.live_rows()
    assert len(rows) > 20
    together = model.predict(rows, 60.0)
    for at in range(len(rows)):
        alone = model.predict(rows[at : at + 1], 60.0)
        for name in ("sigma2", "p_spike", "lo", "hi", "threshold"):
            assert np.array_equal(getattr(alone, name), getattr(together, name)[at : at + 1])


@pytest.mark.parametrize("chunk", [1, 7, 500])
def test_ticks_one_by_one_and_in_batches(chunk: int) -> None:
    """States and calibrations do not depend on the size of the batches."""
    records = tick_records(3, 200, 1.0)
    assert learnt(records, chunk) == learnt(records, 64)


def learnt(records: list[Any], chunk: int) -> dict[str, bytes]:
    """Return the stored state of every symbol after ticks in chunks."""
    table = table_of(3)
    through(records, table, chunk=chunk)
    return {table.symbol(row): table.stored(row) for row in table.rows}
