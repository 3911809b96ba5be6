"""JSON and HTTP blocks of the pages are what the service reads and sends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.docs import documents
from tests.docs.blocks import Block, of
from tests.docs.documents import SYMBOL, TIME_NS, differences, kind_of, request_before, shown
from tests.web.serving import ROW, serving
from tests.web.test_auth import entry
from volsvc.domain import Tick, VolsvcError, format_time, parse_time
from volsvc.transport.codec import encode_tick
from volsvc.web.auth.api_keys import new_key

KEY, _ = new_key("docs", ("read", "predict"))
WRONG_KEY, _ = new_key("docs", ("read", "predict"))
PLACEHOLDER = "vsk_…"
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "model": {"variant": "ml", "import_packaged": False},
    "auth": {"keys": (entry("docs", KEY, "read", "predict"),)},
}
KEYED = {"X-API-Key": KEY}


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


async def answered(client: aiohttp.ClientSession, body: Any, **headers: str) -> tuple[int, Any]:
    """Return status and document of a POST /predict."""
    async with client.post("/predict", json=body, headers={**KEYED, **headers}) as response:
        return response.status, await response.json(content_type=None)


@pytest.mark.parametrize("block", of("json"))
async def test_documents(block: Block) -> None:
    """A document is of one known kind, and its reader finds nothing wrong.

    A request gets an answer, and an answer is that of the request before it, in its digits.
    """
    kind = kind_of(block.text)
    kind.read(block.text)
    async with serving(SETTINGS) as (client, _):
        if kind.name == "PredictRequest":
            status, answer = await answered(client, json.loads(block.text))
            assert status == 200, answer
        if kind.name == "PredictResponse":
            status, answer = await answered(client, request_before(block))
            assert status == 200, answer
            document = shown(block.text)
            ts = format_time(parse_time(document["ts"]))
            assert list(differences(document, {**answer, "ts": ts})) == []


TICK, FEATURES, OUTCOME, MINUTES = (
    (record.value or b"").decode()
    for record in (
        encode_tick(Tick(SYMBOL, TIME_NS, 70_000.5)),
        documents.FEATURES,
        documents.OUTCOME,
        documents.MINUTES,
    )
)
WORDS = ("kind", "trigger", "reason", "model", "variant", "version", "digest", "requested")
ENTRY = json.dumps(
    {
        "seq": 1,
        "time": "2026-01-05T00:00:00.000Z",
        **dict.fromkeys((*WORDS, "previous", "prev", "hash"), "x"),
        "fallback": False,
    }
)
# A document, the same with a fault, and the text of the error.
JSON_FAULTS = {
    "renamed": (TICK, TICK.replace("sequence", "sequence_num"), "nearest is a tick .lacks .'seq"),
    "lacking": (OUTCOME, OUTCOME.replace('"brier"', '"brie"'), "nearest is an outcome"),
    "more": (FEATURES, FEATURES.replace('"v":4', '"v":4,"w":1'), "does not have .'w'."),
    "no object": (TICK, f"[{TICK}]", "not an object"),
    "no tick": (TICK, TICK.replace("70000.5", "-1"), "price"),
    "another time": (TICK, TICK.replace(".000Z", "Z"), "#/time"),
    "another version": (TICK, TICK.replace('"v":1', '"v":2'), "not 1"),
    "no features": (FEATURES, FEATURES.replace('"quality":{', '"quality":{"gap":0,'), "quality"),
    "an old record": (FEATURES, FEATURES.replace('"v":4', '"v":3'), "3 is not 4"),
    "no feature": (FEATURES, FEATURES.replace('"level"', '"height"'), "height"),
    "another score": (
        FEATURES,
        FEATURES.replace('"score":0.1,"pred', '"score":0.2,"pred'),
        "score",
    ),
    "no verdict": (FEATURES, FEATURES.replace('"ok"', '"good"'), "verdict"),
    "wrong volatility": (FEATURES, FEATURES.replace("0.0725", "0.0825"), "sigma_annualised"),
    "wrong loss": (OUTCOME, OUTCOME.replace('"qlike":0.0', '"qlike":0.1'), "#/qlike"),
    "wrong verdict": (OUTCOME, OUTCOME.replace("true", "false"), "#/covered"),
    "wrong id": (OUTCOME, OUTCOME.replace("/ml-1", "/ml-2"), "#/prediction_id"),
    "no minute": (MINUTES, MINUTES.replace("00.000Z", "01.000Z"), "end of a minute"),
    "no flag": (MINUTES, MINUTES.replace('"gap":false', '"gap":0'), "bool"),
    "no entry": (ENTRY, ENTRY.replace('"seq": 1', '"seq": "one"'), "'one' is not"),
}


@pytest.mark.parametrize("case", JSON_FAULTS)
def test_faults_of_documents_are_found(case: str) -> None:
    """A document is read without an error, and with a fault refused with its place."""
    text, faulty, error = JSON_FAULTS[case]
    kind_of(text).read(text)
    with pytest.raises((AssertionError, VolsvcError), match=error):
        kind_of(faulty).read(faulty)


def test_an_answer_shows_digits_of_the_real_one() -> None:
    """Numbers may be rounded, and nothing else may differ."""
    real = {"a": [0.58148, 49], "b": {"c": None, "d": "x"}, "e": True}
    assert list(differences(shown('{"a":[0.581,49],"b":{"c":null,"d":"x"},"e":true}'), real)) == []
    for text in (
        '{"a":[0.582,49],"b":{"c":null,"d":"x"},"e":true}',
        '{"a":[0.581,50],"b":{"c":null,"d":"x"},"e":true}',
        '{"a":[0.581],"b":{"c":null,"d":"x"},"e":true}',
        '{"a":[0.581,49],"b":{"c":0.0,"d":"x"},"e":true}',
        '{"a":[0.581,49],"b":{"d":"x"},"e":true}',
        '{"a":[0.581,49],"b":{"c":null,"d":"x"},"e":1}',
    ):
        assert len(list(differences(shown(text), real))) == 1, text


async def admits(client: aiohttp.ClientSession, name: str, value: str) -> None:
    """Check a header that carries a key: with ours the service answers, with another 401."""
    assert PLACEHOLDER in value, f"{name} does not show a key as {PLACEHOLDER}"
    statuses = []
    for key in (KEY, WRONG_KEY):
        headers = {name: value.replace(PLACEHOLDER, key)}
        async with client.get("/version", headers=headers) as response:
            statuses.append(response.status)
    assert statuses == [200, 401]


async def is_applied(client: aiohttp.ClientSession, name: str, value: str) -> None:
    """Check a preference: it makes an answer of an error, and the answer says so."""
    body = {"rows": [ROW, {**ROW, "ret_std": -1}]}
    assert (await answered(client, body))[0] == 422
    async with client.post("/predict", json=body, headers={**KEYED, name: value}) as response:
        assert response.status == 200
        assert response.headers["Preference-Applied"] == value


HEADERS = {"Authorization": admits, "X-API-Key": admits, "Prefer": is_applied}


async def check_headers(text: str) -> None:
    """Send each header of a block to a service; raises AssertionError if it has no effect."""
    async with serving(SETTINGS) as (client, _):
        for line in text.splitlines():
            name, _, value = line.partition(": ")
            assert name in HEADERS, f"{line}: no check of this header; there are {list(HEADERS)}"
            await HEADERS[name](client, name, value)


@pytest.mark.parametrize("block", of("http"))
async def test_headers(block: Block) -> None:
    """Each header has the effect for which the page shows it."""
    await check_headers(block.text)


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Basic vsk_…",
        "Authorization: vsk_…",
        "Authorization: Bearer abc_…",
        "X-API-Key: Bearer vsk_…",
        "X-API-Token: vsk_…",
        "Prefer: handling=strict",
        "Prefer: lenient",
        "Authorization: Bearer vsk_…\nnothing",
    ],
)
async def test_faults_of_headers_are_found(text: str) -> None:
    """A header that the service does not know, or with another value, is refused."""
    with pytest.raises(AssertionError):
        await check_headers(text)
