"""Tests of the OpenAPI document: its routes, its examples, and requests generated from it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate as validate_openapi
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.web.conftest import in_its_loop
from tests.web.test_auth import entry
from volsvc.config.settings import load_settings
from volsvc.daemon.daemon import Daemon
from volsvc.web.auth.api_keys import new_key
from volsvc.web.openapi import routes as openapi
from volsvc.web.problem_types import PROBLEM_TYPES

DOCUMENT = openapi.document()
CASES = 2_000
KEY, _ = new_key("everything", ("read", "predict", "admin"))
OPERATIONS = [(path, method) for path, item in DOCUMENT["paths"].items() for method in item]


def checked(schema: dict[str, Any], value: Any) -> None:
    Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(value)


def operation(path: str, method: str) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["paths"][path][method]
    return found


def test_it_is_valid() -> None:
    """The document is valid OpenAPI 3.1."""
    validate_openapi(DOCUMENT)
    assert DOCUMENT["openapi"] == "3.1.0"
    assert set(DOCUMENT["components"]["securitySchemes"]) == {"bearerAuth", "apiKeyAuth"}


def test_it_names_every_route(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The document has exactly the routes of the application."""
    monkeypatch.chdir(tmp_path)
    d = Daemon(load_settings(None, {"source": {"kind": "none"}, "model": {"variant": "baseline"}}))
    assert d._server is not None
    routes = d._server._runner.app.router.routes()
    served = {
        (route.resource.canonical, route.method.lower())
        for route in routes
        if route.resource is not None and route.method not in ("HEAD", "*")
    }
    assert served == set(OPERATIONS)


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_operation_is_whole(path: str, method: str) -> None:
    """Every operation documents its security, and an example of each problem type per status."""
    found = operation(path, method)
    answers = found["responses"]
    assert "500" in answers
    if found["security"]:
        assert {"401", "403", "429"} <= set(answers)
        assert {"bearerAuth", "apiKeyAuth"} == {name for s in found["security"] for name in s}
    for status, answer in answers.items():
        if "application/problem+json" not in answer.get("content", {}):
            continue
        content = answer["content"]["application/problem+json"]
        for slug, shown in content["examples"].items():
            checked(content["schema"], shown["value"])
            assert PROBLEM_TYPES[slug].status == int(status) == shown["value"]["status"]
    for content in answers["200"].get("content", {}).values():
        if "example" in content and "schema" in content:
            checked(content["schema"], content["example"])


def test_times_are_declared() -> None:
    """Every field that holds an RFC 3339 time says so, for the code that is generated from it."""
    schemas = DOCUMENT["components"]["schemas"]
    fields = {
        f"{model}.{name}": field.get("format")
        for model, schema in schemas.items()
        for name, field in schema.get("properties", {}).items()
        if field.get("description") == "RFC 3339, UTC"
    }
    assert len(fields) > 8
    assert set(fields.values()) == {"date-time"}
    assert schemas["LatestResponse"]["properties"]["as_of"]["format"] == "date-time"


@in_its_loop
async def test_examples_work(service: aiohttp.ClientSession) -> None:
    """Every example request gets an answer that matches the document."""
    # A model to roll back to.
    async with service.put("/models/active", json={"variant": "ml"}) as response:
        assert response.status == 200
    for path, method in OPERATIONS:
        found = operation(path, method)
        parameters = [p for p in found.get("parameters", ()) if "example" in p]
        url = path
        for p in parameters:
            url = url.replace("{" + p["name"] + "}", str(p["example"]))
        query = {p["name"]: str(p["example"]) for p in parameters if p["in"] == "query"}
        headers = {p["name"]: p["example"] for p in parameters if p["in"] == "header"}
        content = found.get("requestBody", {}).get("content", {}).get("application/json", {})
        for shown in content.get("examples", {"": {"value": None}}).values():
            async with service.request(
                method, url, params=query, headers=headers, json=shown["value"]
            ) as response:
                text = await response.text()
                assert response.status == 200, (url, text)
                answer = found["responses"]["200"]["content"]
                if "application/json" in answer and "schema" in answer["application/json"]:
                    checked(answer["application/json"]["schema"], await response.json())


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, minutes: Path) -> Iterator[str]:
    """Run a daemon that requires a key in a thread, because these tests are not asynchronous."""
    data_dir = str(tmp_path_factory.mktemp("var"))
    keys = (entry("everything", KEY, "read", "predict", "admin"),)
    given: dict[str, dict[str, Any]] = {
        "service": {"data_dir": data_dir},
        "source": {"path": str(minutes)},
        "replay": {"speed": "max"},
        "model": {"variant": "baseline", "import_packaged": False},
        "http": {"port": 0, "max_rows": 100},
        "auth": {"keys": keys},
    }
    daemon = Daemon(load_settings(None, given))
    stop, bound, url = asyncio.Event(), threading.Event(), ""
    loop = asyncio.new_event_loop()

    def ready(address: str) -> None:
        nonlocal url
        url = address
        bound.set()

    thread = threading.Thread(target=lambda: loop.run_until_complete(daemon.run(stop, ready)))
    thread.start()
    assert bound.wait(30)
    yield url
    loop.call_soon_threadsafe(stop.set)
    thread.join(20)
    assert not thread.is_alive()
    loop.close()


SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
# Per operation; those without parameters have fewer distinct requests.
EACH = 220
tried: dict[str, int] = {}


@pytest.mark.long
@SCHEMA.parametrize()
@settings(
    max_examples=EACH,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
def test_answers_are_as_described(case: schemathesis.Case[Any], address: str) -> None:
    """Valid and invalid requests get documented answers, and no 5xx other than 503."""
    if case.path == "/stream":
        case.query["limit"] = 1
    key = {"Authorization": f"Bearer {KEY}"}
    response = case.call(base_url=address, headers=key, timeout=10)
    tried[case.path] = tried.get(case.path, 0) + 1
    assert response.status_code in (503, *range(200, 500)), response.text
    # Stale data is 503 by contract; any other status above 499 has failed in the line before.
    excluded: list[Any] = [not_a_server_error]
    if case.path in ("/models/history", "/history/{symbol}", "/outcomes/{symbol}", "/events"):
        # Times are valid from 2009 on, and steps are whole minutes, which a format cannot express.
        excluded.append(positive_data_acceptance)
    case.validate_response(response, headers=key, excluded_checks=excluded)


@pytest.mark.long
def test_there_were_enough_cases() -> None:
    """At least two thousand requests were made, on every route."""
    assert set(tried) == set(DOCUMENT["paths"])
    assert sum(tried.values()) >= CASES, tried
    assert all(HTTPStatus(int(s)) for item in OPERATIONS for s in operation(*item)["responses"])
