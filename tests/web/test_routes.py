"""Tests of the HTTP contract, over a real socket."""

from __future__ import annotations

import asyncio
import math
import re
from typing import Any

import aiohttp
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate as validate_openapi

from tests.daemon import metric_sum
from tests.web.conftest import in_its_loop
from volsvc.domain import parse_time

pytestmark = in_its_loop

ROW = {"ret_mean": 0.05, "ret_std": 0.01, "n": 50}
GETS = (
    "/latest",
    "/latest/BTC-USD",
    "/history/BTC-USD",
    "/health",
    "/health/live",
    "/health/ready",
    "/version",
)
Client = aiohttp.ClientSession


async def predict(client: Client, **body: Any) -> tuple[int, Any]:
    async with client.post("/predict", json=body) as response:
        return response.status, await response.json(content_type=None)


async def get(client: Client, path: str, **options: Any) -> tuple[int, Any]:
    async with client.get(path, **options) as response:
        return response.status, await response.json(content_type=None)


async def test_the_documented_request(service: Client) -> None:
    """The answer has exactly the documented fields, and one prediction per row."""
    status, answer = await predict(service, rows=[ROW, {**ROW, "ret_std": 0.02, "span_s": 10.0}])
    assert status == 200
    assert set(answer) == {
        "scores",
        "model_variant",
        "version",
        "ts",
        "horizon_s",
        "predictions",
    }
    assert answer["model_variant"] == "baseline"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", answer["ts"])
    assert len(answer["scores"]) == len(answer["predictions"]) == 2
    assert all(0 <= score <= 1 for score in answer["scores"])
    assert [p["quality"] for p in answer["predictions"]] == ["degraded", "ok"]
    for prediction in answer["predictions"]:
        assert prediction["lo"] < prediction["hi"]
        annual = prediction["sigma"] * math.sqrt(31_557_600 / answer["horizon_s"])
        assert prediction["sigma_annualised"] == pytest.approx(annual)


async def test_scores_rise_with_ret_std(service: Client) -> None:
    """Scores rise with ret_std at the scale of real ticks, and stay finite far above it."""
    rows = [{"ret_mean": 0.0, "ret_std": std, "n": 49} for std in (0, 1e-5, 2e-5, 4e-5, 6e-5, 9.0)]
    _, answer = await predict(service, rows=rows)
    assert answer["scores"] == sorted(answer["scores"])
    assert answer["scores"][4] - answer["scores"][1] > 0.2
    assert all(math.isfinite(p["sigma"]) for p in answer["predictions"])


async def test_horizon_threshold_and_symbol(service: Client) -> None:
    """The request's horizon and threshold are used, and the threshold of a known symbol."""
    row = {**ROW, "ret_std": 3e-5, "ret_mean": 0.0, "span_s": 10.0}
    _, minute = await predict(service, rows=[row], horizon_s=60)
    _, hour = await predict(service, rows=[row], horizon_s=3600)
    assert hour["predictions"][0]["sigma"] > minute["predictions"][0]["sigma"]
    _, high = await predict(service, rows=[row], threshold=1.0)
    assert high["predictions"][0]["threshold"] == 1.0
    assert high["scores"][0] < 1e-6
    _, known = await predict(service, rows=[row, {**row, "symbol": "BTC-USD"}])
    assert known["predictions"][0]["threshold"] != known["predictions"][1]["threshold"]


async def test_published_features_give_the_published_forecast(service: Client) -> None:
    """Features of /latest, posted back, give the same forecast at every horizon."""
    _, latest = await get(service, "/latest/BTC-USD")
    posted = {name: latest[name] for name in ("ret_mean", "ret_std", "n", "span_s", "features")}
    assert len(latest["predictions"]) == 4
    for shown in latest["predictions"]:
        body = {"rows": [{**posted, "symbol": "BTC-USD"}], "horizon_s": shown["horizon_s"]}
        _, answer = await predict(service, **body)
        assert answer["predictions"][0]["sigma"] == shown["sigma"]
        assert answer["predictions"][0]["threshold"] == pytest.approx(shown["threshold"])


INVALID_BODIES: dict[str, tuple[Any, str]] = {
    "missing": ({"rows": [{"ret_mean": 0.0, "n": 5}]}, "#/rows/0/ret_std"),
    "negative": ({"rows": [ROW, {**ROW, "ret_std": -1}]}, "#/rows/1/ret_std"),
    "too few": ({"rows": [{**ROW, "n": 0}]}, "#/rows/0/n"),
    "fraction": ({"rows": [{**ROW, "n": 1.5}]}, "#/rows/0/n"),
    "text": ({"rows": [{**ROW, "ret_mean": "0.1"}]}, "#/rows/0/ret_mean"),
    "truth": ({"rows": [{**ROW, "ret_mean": True}]}, "#/rows/0/ret_mean"),
    "unknown in row": ({"rows": [{**ROW, "a/b~c": 1}]}, "#/rows/0/a~1b~0c"),
    "unknown": ({"rows": [ROW], "horizon": 60}, "#/horizon"),
    "no rows": ({"rows": []}, "#/rows"),
    "too many": ({"rows": [ROW] * 101}, "#/rows"),
    "rows no list": ({"rows": ROW}, "#/rows"),
    "no object": ([ROW], "#"),
    "horizon": ({"rows": [ROW], "horizon_s": 0}, "#/horizon_s"),
    "threshold": ({"rows": [ROW], "threshold": -1}, "#/threshold"),
    "null": ({"rows": None}, "#/rows"),
    "half a map": ({"rows": [{**ROW, "features": {"level": 1e-9}}]}, "#/rows/0/features"),
    "strange feature": ({"rows": [{**ROW, "features": {"x": 1}}]}, "#/rows/0/features/x"),
}


@pytest.mark.parametrize("name", INVALID_BODIES)
async def test_errors_have_pointers(name: str, service: Client) -> None:
    """An invalid request gets 422 with a pointer to each error."""
    body, pointer = INVALID_BODIES[name]
    async with service.post("/predict", json=body) as response:
        assert response.status == 422
        assert response.content_type == "application/problem+json"
        problem = await response.json(content_type=None)
    assert problem["status"] == 422
    assert [e["pointer"] for e in problem["errors"]] == [pointer]
    assert all(e["detail"] for e in problem["errors"])


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("", 400),
        ("{", 400),
        ("not json", 400),
        ("\x00", 400),
        ("[" * 20_000, 400),
        ('{"rows": [{"ret_mean": NaN, "ret_std": 1, "n": 5}]}', 422),
        ('{"rows": [{"ret_mean": Infinity, "ret_std": 1, "n": 5}]}', 422),
        ('{"rows": [{"ret_mean": 1e999, "ret_std": 1, "n": 5}]}', 422),
        ('{"rows": [{"ret_mean": 0, "ret_std": 1, "n": 1e400}]}', 422),
        ('{"rows": [{"ret_mean": 0, "ret_std": 1, "n": 1' + "0" * 5_000 + "}]}", 400),
    ],
    ids=range(10),
)
async def test_bodies_without_valid_numbers(text: str, status: int, service: Client) -> None:
    """Invalid JSON gets 400, non-finite numbers get 422, and nothing gets a 5xx."""
    async with service.post("/predict", data=text.encode()) as response:
        assert response.status == status, await response.text()
        assert (await response.json(content_type=None))["status"] == status


@pytest.mark.usefixtures("loop_clock")
async def test_too_large_and_too_slow(service: Client) -> None:
    """A body above the limit gets 413, one that does not arrive gets 408."""
    async with service.post("/predict", data=b" " * 70_000) as response:
        assert response.status == 413

    async def drip() -> Any:
        yield b"{"
        await asyncio.Event().wait()

    async with asyncio.timeout(60), service.post("/predict", data=drip()) as response:
        assert response.status == 408
        assert (await response.json(content_type=None))["type"] == "/problems/request-timeout"


async def test_unknown_places(service: Client) -> None:
    """404 names similar symbols, and 405 names the supported methods."""
    status, problem = await get(service, "/latest/BTC-US")
    assert status == 404
    assert problem["type"] == "/problems/unknown-symbol"
    assert "BTC-USD" in problem["detail"]
    status, problem = await get(service, "/nowhere")
    assert (status, problem["type"]) == (404, "/problems/not-found")
    assert "/openapi.json" in problem["detail"]
    status, problem = await get(service, "/history/NONE")
    assert (status, problem["type"]) == (404, "/problems/unknown-symbol")
    async with service.get("/predict") as response:
        assert response.status == 405
        assert response.headers["Allow"] == "POST"
        assert (await response.json(content_type=None))["detail"] == "supported methods: POST"
    for path, meant in (
        ("/latest/", "/latest"),
        ("/predict/", "/predict"),
        ("/health/live//", "/health/live"),
        ("/latest/BTC-USD/", "/latest/BTC-USD"),
        ("/latest/BTC/USDT", "/latest/BTC%2FUSDT"),
        ("/history/BTC/USDT:USDT/", "/history/BTC%2FUSDT%3AUSDT"),
    ):
        status, problem = await get(service, path)
        assert (status, problem["type"]) == (404, "/problems/not-found")
        assert f"did you mean {meant}? " in problem["detail"], path
        assert "%2F" in problem["detail"]
    status, problem = await get(service, "/latest/BTC%2FUSDT")
    assert problem["type"] == "/problems/unknown-symbol"
    for path in ("/nowhere/", "/latest/a b/c", "/latest/" + "x/" * 60):
        status, problem = await get(service, path)
        assert (status, "did you mean" in problem["detail"]) == (404, False), path
    async with service.get("/latest/NONE") as response:
        assert response.headers["Cache-Control"] == "no-store"
    odd = ("0000000019999999", "1_0", "\uff11\uff10", "9" * 5_000)
    for limit in ("0", "-1", "x", "1e3", "99999999999", "²", *odd):
        status, problem = await get(service, "/history/BTC-USD", params={"limit": limit})
        assert (status, problem["errors"][0]["pointer"]) == (422, "#/limit")


async def test_history_has_forecasts_and_outcomes(service: Client) -> None:
    """History has forecasts at least ten seconds apart, and the outcomes of matured ones."""
    _, history = await get(service, "/history/BTC-USD?limit=1000")
    forecasts, outcomes = history["forecasts"], history["outcomes"]
    steps = [int(parse_time(f["time"])) // 10**10 for f in forecasts]
    assert steps == sorted(set(steps))
    assert len(steps) > 5
    assert [p["horizon_s"] for p in forecasts[-1]["predictions"]] == [60, 300, 900, 3600]
    assert all(p["lo"] < p["sigma"] < p["hi"] for f in forecasts for p in f["predictions"])
    assert outcomes
    for outcome in outcomes:
        ahead_ns = parse_time(outcome["matured"]) - parse_time(outcome["issued"])
        assert ahead_ns == outcome["horizon_s"] * 1e9
        inside = outcome["lo"] <= outcome["realised"] <= outcome["hi"]
        assert outcome["covered"] is inside
    _, short = await get(service, "/history/BTC-USD?limit=2")
    assert (short["forecasts"], short["outcomes"]) == (forecasts[-2:], outcomes[-2:])


async def test_metrics_can_be_selected_by_name(service: Client) -> None:
    """With `name[]` a scrape has only those series; an unknown name is not an error."""
    names = ["volsvc_ticks_total", "volsvc_kafka_consumer_lag_records", "nobody_has_this"]
    async with service.get("/metrics", params=[("name[]", name) for name in names]) as response:
        assert response.status == 200
        text = await response.text()
    series = {line.split("{")[0] for line in text.splitlines() if not line.startswith("#")}
    assert series == {"volsvc_ticks_total"}


async def test_latest_is_one_consistent_answer(service: Client) -> None:
    """/latest agrees with the last row of /history and with the answer for all symbols."""
    _, latest = await get(service, "/latest/BTC-USD")
    _, history = await get(service, "/history/BTC-USD?limit=5")
    newest = history["rows"][-1]
    assert len(history["rows"]) == 5
    for name in ("price", "ret_mean", "ret_std", "n"):
        assert latest[name] == newest[name]
    assert latest["as_of"] == newest["time"]
    assert not latest["stale"]
    _, later = await get(service, "/latest/BTC-USD")
    assert later["age_s"] > latest["age_s"] > 0
    assert [p["horizon_s"] for p in latest["predictions"]] == [60, 300, 900, 3600]
    assert latest["score"] == latest["predictions"][0]["score"]
    assert latest["quality"]["fill_ratio"] == 1
    _, every = await get(service, "/latest")
    assert [s["symbol"] for s in every["symbols"]] == ["BTC-USD", "ETH-USD"]
    assert every["symbols"][0]["ret_std"] == latest["ret_std"]


async def test_head_and_ids(service: Client) -> None:
    """HEAD answers like GET without a body; a valid request id is echoed, an invalid one is not."""
    for path in (*GETS, "/metrics", "/openapi.json", "/docs"):
        async with service.head(path) as response:
            assert response.status == 200, path
            assert await response.read() == b""
            assert response.headers["X-Request-ID"]
    for given, same in (("abc-1.2_3", True), ("x" * 200, False), ("a b;c", False)):
        async with service.get("/nowhere", headers={"X-Request-ID": given}) as response:
            assert (response.headers["X-Request-ID"] == given) is same
            problem = await response.json(content_type=None)
            assert problem["request_id"] == response.headers["X-Request-ID"]


async def test_the_document_holds(service: Client) -> None:
    """The OpenAPI document is valid, and answers match it."""
    _, document = await get(service, "/openapi.json")
    validate_openapi(document)

    def check(path: str, method: str, status: int, body: Any) -> None:
        answer = document["paths"][path][method]["responses"][str(status)]
        content = next(iter(answer["content"].values()))
        schema = {**content["schema"], "components": document["components"]}
        Draft202012Validator(schema).validate(body)

    for path in GETS:
        template = path.replace("BTC-USD", "{symbol}")
        check(template, "get", 200, (await get(service, path))[1])
    check("/latest/{symbol}", "get", 404, (await get(service, "/latest/X"))[1])
    check("/predict", "post", 200, (await predict(service, rows=[ROW]))[1])
    check("/predict", "post", 422, (await predict(service, rows=[]))[1])


async def test_docs_load_nothing_from_elsewhere(service: Client) -> None:
    """The page loads files of this service only."""
    async with service.get("/docs") as response:
        assert response.status == 200
        page = await response.text()
        policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert links
    for link in links:
        if link == "data:,":
            continue
        assert link.startswith("/")
        async with service.get(link) as response:
            assert response.status == 200, link
    async with service.get("/docs/assets/../../app.py") as response:
        assert response.status == 404


async def test_metrics(service: Client) -> None:
    """Requests are counted by route template and not by path, predictions by outcome."""

    def predictions(text: str, outcome: str) -> float:
        return metric_sum(
            text, f'volsvc_predictions_total{{outcome="{outcome}",variant="baseline"}}'
        )

    async with service.get("/metrics") as response:
        earlier = await response.text()
    await predict(service, rows=[ROW] * 3)
    await predict(service, rows=[])
    await get(service, "/no/such/path-of-mine")
    async with service.get("/metrics") as response:
        assert response.content_type == "text/plain"
        text = await response.text()
    for outcome, rows in (("ok", 3), ("invalid", 1)):
        assert predictions(text, outcome) - predictions(earlier, outcome) == rows
    assert 'http_route="__unmatched__"' in text
    assert "path-of-mine" not in text
    assert 'volsvc_model_info{variant="baseline",version="2"} 1.0' in text
    assert metric_sum(text, "volsvc_fallback_active") == 0
    for name in ("volsvc_kafka_rebalances_total", "volsvc_ticks_rejected_total"):
        assert f"\n{name}" in text, "series exist from the start"
    headers = {"Accept": "application/openmetrics-text; version=1.0.0"}
    async with service.get("/metrics", headers=headers) as response:
        assert (await response.text()).endswith("# EOF\n")
