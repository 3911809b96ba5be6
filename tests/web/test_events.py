"""Events from the store: what streams have told, in pages and formats."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.daemon import eventually
from tests.web.conftest import in_its_loop
from tests.web.serving import serving
from tests.web.test_past import get, rows
from volsvc.daemon.stream_events import publish_drift, publish_gap
from volsvc.web.schemas.past import EventRow
from volsvc.web.tables import CSV, NDJSON, PARQUET

Client = aiohttp.ClientSession
pytestmark = in_its_loop
GAPS = 25
LONG_AGO = "2010-01-01T00:00Z"


def at(second: int) -> str:
    return f"2026-01-05T00:00:{second:02d}.000Z"


@pytest.fixture(scope="module")
async def told(minutes: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    """A client of a daemon of which gaps, a swap and a drift check were told."""
    given = {
        "source": {"kind": "replay", "path": str(minutes)},
        "replay": {"speed": "max"},
        "model": {"variant": "ml"},
        "service": {"data_dir": str(tmp_path_factory.mktemp("var"))},
    }
    async with serving(given) as (client, daemon):
        hub, store = daemon.services.hub, daemon._parts.store
        assert store is not None
        for second in range(GAPS):
            payload = {"symbol": "A", "at": at(second), "gaps": second + 1}
            daemon.services.latest_store.notify("gap", "A", payload)
        publish_gap(hub, "B", "trades", 3)
        publish_drift(hub, {"end": "2026-01-04T00:00:00.000Z", "drifted": ["vr"], "rows": 9})
        async with client.put("/models/active", json={"variant": "baseline"}) as response:
            assert response.status == 200
        store.commit({})

        async def written() -> bool:
            _, page, _ = await get(client, "/events")
            return len(page["rows"]) == GAPS + 4

        await eventually(written, 20, "the events are written")
        yield client


async def test_each_kind(told: Client) -> None:
    """An event has its time, its symbol if it is one's, and the fields of its kind."""
    _, drift, _ = await get(told, "/events", kind="drift")
    assert drift["rows"] == [
        {
            "time": "2026-01-04T00:00:00.000Z",
            "kind": "drift",
            "symbol": None,
            "fields": {"drifted": ["vr"], "rows": 9},
        }
    ]
    _, gaps, _ = await get(told, "/events", kind="gap", symbol="A", limit=2)
    assert [(row["time"], row["symbol"], row["fields"]) for row in gaps["rows"]] == [
        (at(GAPS - 2), "A", {"gaps": GAPS - 1}),
        (at(GAPS - 1), "A", {"gaps": GAPS}),
    ]
    _, feed, _ = await get(told, "/events", symbol="B")
    assert [row["fields"] for row in feed["rows"]] == [{"trades": 3}]
    _, model, _ = await get(told, "/events", kind="model")
    start, swap = (row["fields"] for row in model["rows"])
    assert (start["kind"], start["variant"]) == ("start", "ml")
    assert (swap["kind"], swap["trigger"], swap["variant"]) == ("swap", "route", "baseline")
    assert swap["before"] == f"ml-{start['version']}"
    for row in (*drift["rows"], *gaps["rows"], *model["rows"]):
        assert list(row) == list(EventRow.model_fields)


@pytest.mark.parametrize("limit", [1, 7, 1_000])
async def test_pages(told: Client, limit: int) -> None:
    """From a start on, pages lead through all events, each once, oldest first."""
    found = await rows(told, "/events", start=LONG_AGO, limit=limit)
    assert len(found) == GAPS + 4
    assert [row["time"] for row in found] == sorted(row["time"] for row in found)
    some = await rows(told, "/events", start=at(3), end=at(9), kind="gap", limit=limit)
    assert [row["time"] for row in some] == [at(second) for second in range(4, 10)]
    assert await rows(told, "/events", symbol="C", start=LONG_AGO) == []
    status, problem, _ = await get(told, "/events", symbol="no symbol")
    assert (status, problem["errors"][0]["pointer"]) == (422, "#/symbol")


async def test_formats(told: Client) -> None:
    """Lines have the fields as an object; tables have them as JSON text."""
    query: dict[str, Any] = {"start": LONG_AGO, "limit": 1_000}
    expected = await rows(told, "/events", **query)
    _, body, _ = await get(told, "/events", NDJSON, **query)
    assert [json.loads(line) for line in body.splitlines()] == expected
    _, body, _ = await get(told, "/events", CSV, **query)
    found = list(csv.DictReader(io.StringIO(body.decode())))
    assert [json.loads(row["fields"]) for row in found] == [row["fields"] for row in expected]
    assert [row["symbol"] or None for row in found] == [row["symbol"] for row in expected]
    from pyarrow import parquet

    _, body, _ = await get(told, "/events", PARQUET, **query)
    table = parquet.read_table(io.BytesIO(body)).to_pylist()
    assert [{**row, "fields": json.loads(row["fields"])} for row in table] == expected
    _, body, headers = await get(told, "/events", CSV, start=LONG_AGO, limit=5)
    assert 'rel="next"' in headers["Link"]


async def test_faults_are_named(told: Client) -> None:
    """A kind or a range that is none gets 422 with what would be one."""
    status, problem, _ = await get(told, "/events", kind="swap")
    assert (status, problem["errors"][0]["pointer"]) == (422, "#/kind")
    assert "gap, model, drift" in problem["detail"]
    status, problem, _ = await get(told, "/events", start=at(2), end=at(1))
    assert (status, problem["errors"][0]["pointer"]) == (422, "#/end")


async def test_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a store the route says why."""
    monkeypatch.chdir(tmp_path)
    async with serving({"store": {"enabled": False}}) as (client, _):
        status, problem, _ = await get(client, "/events")
        assert (status, problem["type"]) == (404, "/problems/not-kept")
        assert "store.enabled is false" in problem["detail"]
