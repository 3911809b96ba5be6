"""Tests of the routes of models and of quality, over a real socket."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from jsonschema import Draft202012Validator

from tests.web.conftest import in_its_loop
from tests.web.test_routes import get, predict

pytestmark = in_its_loop

Client = aiohttp.ClientSession
ROW = {"ret_mean": 0.0, "ret_std": 3e-5, "n": 49, "span_s": 10.0}


async def change(client: Client, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    async with client.request(method, path, json=body) as response:
        return response.status, await response.json(content_type=None)


async def test_answers_are_the_documented_ones(service: Client) -> None:
    """Each answer matches its documented schema."""
    _, document = await get(service, "/openapi.json")
    for path in ("/models", "/models/history", "/quality"):
        status, answer = await get(service, path)
        assert status == 200
        content = document["paths"][path]["get"]["responses"]["200"]["content"]
        schema = {**content["application/json"]["schema"], "components": document["components"]}
        assert list(Draft202012Validator(schema).iter_errors(answer)) == []
    for path, method, scope in (
        ("/models/active", "put", "admin"),
        ("/models/rollback", "post", "admin"),
        ("/models", "get", "read"),
    ):
        assert {"bearerAuth": [scope]} in document["paths"][path][method]["security"]


async def test_switch_and_back(service: Client) -> None:
    """An activation applies to the next request, and so does a rollback."""
    assert (await change(service, "POST", "/models/rollback"))[0] == 409
    status, state = await change(service, "PUT", "/models/active", {"variant": "ml"})
    assert (status, state["serving"]["variant"], state["previous"]) == (200, "ml", "baseline-2")
    assert (await predict(service, rows=[ROW]))[1]["model_variant"] == "ml"
    assert {v["state"] for v in state["variants"]} == {"serving", "shadow"}
    status, state = await change(service, "POST", "/models/rollback")
    assert (status, state["serving"]["variant"]) == (200, "baseline")
    assert (await predict(service, rows=[ROW]))[1]["model_variant"] == "baseline"
    _, history = await get(service, "/models/history?limit=2")
    assert [e["kind"] for e in history["entries"]] == ["rollback", "swap"]
    _, then = await get(service, f"/models/history?at={history['entries'][1]['time']}")
    assert then["served"] == history["entries"][1]


@pytest.mark.parametrize(
    "body",
    [
        {"variant": "mi"},
        {},
        {"variant": "ml", "version": "0"},
        {"variant": "ml", "version": -1},
        {"variant": "ml", "version": "newest"},
        {"variant": "ml", "versions": "1"},
    ],
)
async def test_errors_have_pointers(body: dict[str, Any], service: Client) -> None:
    """An invalid activation is refused with a pointer to the error, and nothing changes."""
    status, problem = await change(service, "PUT", "/models/active", body)
    assert status == 422
    assert problem["errors"][0]["pointer"].startswith("#/ver" if len(body) == 2 else "#/variant")
    assert (await get(service, "/models"))[1]["serving"]["variant"] == "baseline"


async def test_an_unknown_version(service: Client) -> None:
    """A version that does not exist is refused with 409."""
    for body in ({"variant": "ml", "version": 7}, {"variant": "baseline", "version": 7}):
        status, problem = await change(service, "PUT", "/models/active", body)
        assert (status, problem["type"]) == (409, "/problems/model-refused")


async def test_quality_of_live_symbols(service: Client) -> None:
    """Six minutes give matured forecasts of both variants, and metrics agree with /quality."""
    _, answer = await get(service, "/quality?symbol=BTC-USD")
    rows = {(r["variant"], r["horizon_s"]): r for r in answer["symbols"]}
    assert rows["ml", 60.0]["n"] == rows["baseline", 60.0]["n"] >= 3
    assert answer["recommendation"]["action"] == "keep"
    assert answer["guard"]["forecasts"] == 2 * rows["ml", 60.0]["n"]
    async with service.get("/metrics") as response:
        text = await response.text()
    qlike = 'volsvc_forecast_qlike{horizon="60",symbol="BTC-USD",variant="ml"} '
    shown = float(text.split(qlike)[1].split("\n")[0])
    assert shown == pytest.approx(rows["ml", 60.0]["qlike"])
    assert 'volsvc_interval_coverage_ratio{horizon="60",symbol="BTC-USD",variant="ml"}' in text
    assert 'volsvc_forecast_sigma_annualised_ratio{horizon="3600",symbol="ETH-USD"}' in text
    assert (await get(service, "/quality?symbol=NONE"))[0] == 404
    _, latest = await get(service, "/latest/BTC-USD")
    assert latest["prediction_id"].startswith("BTC-USD/2026-01-05T14:0")
    assert latest["prediction_id"].endswith("/baseline-2")
