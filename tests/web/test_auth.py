"""API keys: scopes, quotas, reloads and secrecy."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import make_mocked_request
from yarl import URL

from tests.web.serving import ROW, serving
from volsvc.config.settings import SettingsError, load_settings
from volsvc.telemetry.logs import configure_logs
from volsvc.web.auth.api_keys import Keyring, add_to_file, new_key
from volsvc.web.auth.browser import refuse_forgery
from volsvc.web.problems import ProblemError

READER, _ = new_key("reader", ("read",))
CALLER, _ = new_key("caller", ("predict",))
ADMIN, _ = new_key("admin", ("admin",))
LATE, _ = new_key("late", ("read", "predict"))
STRANGER, _ = new_key("stranger", ("read",))


def entry(name: str, key: str, *scopes: str, **more: Any) -> dict[str, Any]:
    digest = hashlib.sha256(key.encode()).hexdigest()
    return {"name": name, "sha256": digest, "scopes": scopes, **more}


KEYS = (
    entry("reader", READER, "read"),
    entry("caller", CALLER, "predict"),
    entry("admin", ADMIN, "admin"),
    entry("late", LATE, "read", "predict", expires="2026-01-01T00:00:00Z"),
)
AUTH = {"auth": {"keys": KEYS}}


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


async def ask(client: aiohttp.ClientSession, headers: Any, path: str = "/latest") -> Any:
    """Status, problem type, challenge and body text of a request."""
    method, body = ("POST", {"rows": [ROW]}) if path == "/predict" else ("GET", None)
    async with client.request(method, path, json=body, headers=headers) as response:
        text = await response.text()
        kind = json.loads(text).get("type") if response.status >= 400 else None
        return response.status, kind, response.headers.get("WWW-Authenticate"), text


def bearer(key: str) -> Mapping[str, str]:
    return {"Authorization": f"Bearer {key}"}


WRONG: dict[str, Any] = {
    "missing": {},
    "stranger": bearer(STRANGER),
    "truncated": bearer(READER[:-1]),
    "longer": bearer(READER + "x"),
    "other case": bearer(READER.swapcase()),
    "hash itself": bearer(hashlib.sha256(READER.encode()).hexdigest()),
    "empty": bearer(""),
    "no scheme": {"Authorization": READER},
    "basic": {"Authorization": "Basic cmVhZGVyOng="},
    "two words": bearer(READER + " " + READER),
    "huge": bearer("x" * 4_000),
    "expired": bearer(LATE),
    "both": {**bearer(READER), "X-API-Key": READER},
    "twice": [("X-API-Key", READER), ("X-API-Key", CALLER)],
    "latin": {"X-API-Key": "schlüssel"},
}


async def test_without_a_valid_key_nothing_is_told() -> None:
    """Missing, wrong, truncated, expired or doubled credentials are 401 with a challenge."""
    async with serving(AUTH) as (client, _):
        for name, headers in WRONG.items():
            for path in ("/latest", "/predict", "/metrics", "/version", "/stream"):
                status, kind, challenge, text = await ask(client, headers, path)
                assert (status, kind) == (401, "/problems/unauthorized"), (name, path)
                assert challenge.startswith('Bearer realm="volsvc"')
                assert READER not in text
        status, *_ = await ask(client, {}, f"/latest?api_key={READER}")
        assert status == 401, "a key in the URL would end up in logs and is not read"


async def test_a_key_may_do_what_its_scopes_say() -> None:
    """The right key passes by either header; another scope is 403 and names what it lacks."""
    async with serving(AUTH) as (client, _):
        for headers in (
            bearer(READER),
            {"X-API-Key": READER},
            {"Authorization": f"bEARER {READER}"},
        ):
            assert (await ask(client, headers))[0] == 200
        assert (await ask(client, bearer(CALLER), "/predict"))[0] == 200
        for key, path, lacks in (
            (READER, "/predict", "predict"),
            (CALLER, "/latest", "read"),
            (ADMIN, "/latest", "read"),
        ):
            status, kind, challenge, _ = await ask(client, bearer(key), path)
            assert (status, kind) == (403, "/problems/forbidden")
            assert f'scope="{lacks}"' in challenge


async def test_what_orchestrators_and_browsers_need_is_open() -> None:
    """Health, the document and pages need no key."""
    async with serving(AUTH) as (client, _):
        for path in ("/health", "/health/live", "/readyz", "/ping", "/openapi.json", "/docs"):
            for method in ("GET", "HEAD"):
                async with client.request(method, path) as response:
                    assert response.status == 200, path
        async with client.get("/nowhere") as response:
            assert response.status == 404


async def test_rotation_without_a_gap(tmp_path: Path) -> None:
    """Two keys are valid at once; a reload takes in a new one and ends an old one."""
    file = tmp_path / "keys.toml"
    old, old_entry = new_key("old", ("read",))
    new, new_entry = new_key("new", ("read",))
    add_to_file(file, old_entry)
    settings = {"auth": {"keys_file": str(file)}}
    async with serving(settings) as (client, daemon):

        async def statuses() -> list[int]:
            return [(await ask(client, bearer(key)))[0] for key in (old, new)]

        assert await statuses() == [200, 401]
        add_to_file(file, new_entry)
        daemon.reload(daemon.settings)
        assert await statuses() == [200, 200]
        file.write_text(new_entry)
        daemon.reload(daemon.settings)
        assert await statuses() == [401, 200]
        with pytest.raises(SettingsError, match="no key is left"):
            daemon.reload(load_settings(None))
        file.write_text("[[keys]]\nname = 1\n")
        with pytest.raises(SettingsError, match="keys_file"):
            daemon.reload(daemon.settings)
        assert await statuses() == [401, 200], "a broken file changes nothing"


def test_comparison_takes_no_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole digests are compared in constant time, with every key, wherever the match stands."""
    compared: list[tuple[bytes, bytes]] = []

    def spy(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return original(a, b)

    original = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", spy)
    keyring = Keyring(load_settings(None, AUTH).auth)
    for presented in (READER, ADMIN, STRANGER, READER[:-1]):
        compared.clear()
        keyring.find(presented)
        assert len(compared) == len(KEYS)
        assert all(len(a) == len(b) == 32 for a, b in compared)


async def test_keys_stay_secret() -> None:
    """No log line, error, metric or setting shows a key or its hash."""
    log = io.StringIO()
    configure_logs("debug", "json", log)
    shown = ""
    async with serving(AUTH) as (client, daemon):
        for headers in (*WRONG.values(), bearer(READER), bearer(CALLER)):
            for path in ("/latest", "/predict", "/nowhere"):
                shown += (await ask(client, headers, path))[3]
        bad = {"Authorization": f"Bearer {READER}\x01"}
        with pytest.raises((ValueError, aiohttp.ClientError)):
            await ask(client, bad)
        shown += (await ask(client, bearer(READER), "/metrics"))[3]
        shown += daemon.settings.model_dump_json()
    configure_logs("info", "console")
    everything = shown + log.getvalue()
    assert '"key": "reader"' in log.getvalue(), "logs name the caller"
    assert 'volsvc_auth_refusals_total{reason="unknown"}' in shown
    for key in (READER, CALLER, LATE, STRANGER):
        assert key not in everything
        assert key[4:24] not in everything
        assert hashlib.sha256(key.encode()).hexdigest() not in everything


async def test_quota_of_a_key() -> None:
    """Each answer says what is left; beyond it 429 says when to come back, to this key alone."""
    keys = (entry("few", READER, "read", rate_per_minute=3), entry("many", ADMIN, "read"))
    async with serving({"auth": {"keys": keys}}) as (client, _):
        left = []
        for _ in range(3):
            async with client.get("/latest", headers=bearer(READER)) as response:
                assert response.status == 200
                assert response.headers["RateLimit-Policy"] == '"default";q=3;w=60'
                left.append(response.headers["RateLimit"].split(";")[1])
        assert left == ["r=2", "r=1", "r=0"]
        async with client.get("/latest", headers=bearer(READER)) as response:
            assert response.status == 429
            assert (await response.json(content_type=None))["type"] == "/problems/rate-limited"
            assert 1 <= int(response.headers["Retry-After"]) <= 20
        assert (await ask(client, bearer(ADMIN)))[0] == 200
        assert (await ask(client, {}, "/health/live"))[0] == 200


@pytest.mark.parametrize(
    ("headers", "url", "keyless", "passes"),
    [
        ({}, "http://127.0.0.1:8000/models/active", True, True),
        ({"Origin": "http://localhost:8000"}, "http://localhost:8000/x", True, True),
        ({"Origin": "https://evil.example"}, "http://127.0.0.1:8000/x", True, False),
        ({"Origin": "https://evil.example"}, "http://127.0.0.1:8000/x", False, False),
        ({"Origin": "http://evil.example:8000"}, "http://evil.example:8000/x", True, False),
        ({}, "http://proxy.example/x", False, True),
    ],
    ids=str,
)
def test_changes_come_from_no_other_site(
    headers: dict[str, str], url: str, keyless: bool, passes: bool
) -> None:
    """A page elsewhere cannot make a visitor's browser change the service."""
    asked = {"Host": URL(url).authority, **headers}
    request = make_mocked_request("PUT", URL(url).path, headers=asked)
    settings = load_settings(None).http
    if passes:
        refuse_forgery(request, settings, keyless=keyless)
    else:
        with pytest.raises(ProblemError):
            refuse_forgery(request, settings, keyless=keyless)


FAULTS: dict[str, tuple[Any, str]] = {
    "key itself": ([{"name": "a", "sha256": READER, "scopes": ["read"]}], "sha256"),
    "scope": ([entry("a", READER, "reed")], "scopes"),
    "no scope": ([entry("a", READER)], "scopes"),
    "name": ([entry("a b", READER, "read")], "name"),
    "doubled": ([entry("a", READER, "read"), entry("a", ADMIN, "read")], "two keys are named 'a'"),
    "naive time": ([entry("a", READER, "read", expires="2030-01-01T00:00:00")], "time zone"),
    "no JSON": ("[{", "JSON"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_wrong_settings_are_named_and_keys_are_not(fault: str) -> None:
    """An entry that cannot be used is an error with its place, and without what was pasted."""
    keys, words = FAULTS[fault]
    with pytest.raises(SettingsError, match=words) as caught:
        Keyring(load_settings(None, {"auth": {"keys": keys}}).auth)
    assert READER not in str(caught.value)


def test_keys_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of keys may stand in the environment as JSON."""
    monkeypatch.setenv("VOLSVC_AUTH__KEYS", json.dumps([entry("env", READER, "read")]))
    keyring = Keyring(load_settings(None).auth)
    found = keyring.find(READER)
    assert found is not None
    assert found.name == "env"


def test_a_public_address_needs_keys(tmp_path: Path) -> None:
    """The daemon does not listen beyond this machine without keys, unless told to."""
    public = {"http": {"host": "0.0.0.0"}}
    with pytest.raises(SettingsError, match="no keys are configured"):
        load_settings(None, public)
    load_settings(None, {**public, **AUTH})
    load_settings(None, {**public, "auth": {"insecure": True}})
    empty = tmp_path / "none.toml"
    empty.write_text("")
    with pytest.raises(SettingsError, match="keys_file"):
        Keyring(load_settings(None, {**public, "auth": {"keys_file": str(empty)}}).auth)
