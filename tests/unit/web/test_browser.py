"""Browsers and other sites: CORS, preflights, and forged requests."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from aiohttp.test_utils import make_mocked_request

from volsvc.config.http import HttpSettings
from volsvc.web.auth.browser import cors_headers, preflight, refuse_forgery
from volsvc.web.headers import all_headers, base_headers
from volsvc.web.problem_types import BAD_REQUEST, FORBIDDEN
from volsvc.web.problems import ProblemError

SITE, OTHER = "https://site.example", "https://other.example"
CLOSED = HttpSettings()
SOME = HttpSettings(cors_origins=(SITE,))
ALL = HttpSettings(cors_origins=("*",))

EXPOSED = "ETag, Link, RateLimit, RateLimit-Policy, Retry-After, X-Request-ID"
TOLD = "Authorization, Content-Type, If-None-Match, Last-Event-ID, Prefer, X-API-Key, X-Request-ID"


def shown(origin: str) -> dict[str, str]:
    """Return the headers by which a page of an origin may read an answer."""
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": EXPOSED,
        "Vary": "Origin",
    }


@pytest.mark.parametrize(
    ("settings", "origin", "expected"),
    [
        (CLOSED, {"Origin": SITE}, {}),
        (SOME, {"Origin": SITE}, shown(SITE)),
        (SOME, {"Origin": OTHER}, {"Vary": "Origin"}),
        (SOME, {}, {"Vary": "Origin"}),
        (ALL, {"Origin": OTHER}, shown(OTHER)),
        (ALL, {}, {"Vary": "Origin"}),
        (ALL, {"Origin": ""}, {"Vary": "Origin"}),
    ],
)
def test_pages_of_allowed_origins_may_read(
    settings: HttpSettings, origin: Mapping[str, str], expected: Mapping[str, str]
) -> None:
    """An allowed origin is named, never all; caches learn that the answer depends on it."""
    assert cors_headers(origin, settings) == expected
    collected = base_headers("some-id")
    assert collected == {"X-Request-ID": "some-id", "X-Content-Type-Options": "nosniff"}
    pairs = all_headers(collected, origin, settings)
    assert pairs == [*collected.items(), *expected.items()]


def asks(method: str, headers: Mapping[str, str], settings: HttpSettings) -> bool:
    """Return whether a request is answered as a preflight."""
    return preflight(make_mocked_request(method, "/predict", headers=headers), settings) is not None


def test_a_preflight_of_an_allowed_origin_is_answered() -> None:
    """The answer has no body, and says for ten minutes what requests may be like."""
    headers = {"Origin": SITE, "Access-Control-Request-Method": "POST"}
    response = preflight(make_mocked_request("OPTIONS", "/predict", headers=headers), SOME)
    assert response is not None
    assert (response.status, response.body) == (204, None)
    assert dict(response.headers) == {
        "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT",
        "Access-Control-Allow-Headers": TOLD,
        "Access-Control-Max-Age": "600",
    }
    assert asks("OPTIONS", headers, ALL)


def test_other_requests_are_not_preflights() -> None:
    """Another method, origin or no question: the request is treated like any other."""
    question = {"Access-Control-Request-Method": "POST"}
    assert not asks("OPTIONS", {"Origin": SITE}, SOME)
    assert not asks("POST", {"Origin": SITE, **question}, SOME)
    assert not asks("OPTIONS", {"Origin": OTHER, **question}, SOME)
    assert not asks("OPTIONS", {"Origin": SITE, **question}, CLOSED)
    assert not asks("OPTIONS", question, ALL)


def refused(headers: Mapping[str, str], settings: HttpSettings, *, keyless: bool = True) -> str:
    """Return why a change is refused, empty if it is not."""
    request = make_mocked_request("PUT", "/model", headers=headers)
    try:
        refuse_forgery(request, settings, keyless=keyless)
    except ProblemError as error:
        return error.detail if error.type is FORBIDDEN else repr(error.type)
    return ""


def test_changes_from_pages_of_other_origins_are_refused() -> None:
    """The service's own pages and those of allowed origins may change something."""
    host = {"Host": "localhost:8000"}
    reason = "pages of other origins may not call; see http.cors_origins"
    assert refused(host, CLOSED) == ""
    for origin, settings, expected in (
        ("http://localhost:8000", CLOSED, ""),
        ("https://localhost:8000", CLOSED, reason),
        ("http://localhost:8001", CLOSED, reason),
        ("null", CLOSED, reason),
        ("", ALL, reason),
        (SITE, CLOSED, reason),
        (SITE, SOME, ""),
        (OTHER, SOME, reason),
        (OTHER, ALL, ""),
    ):
        for keyless in (False, True):
            found = refused({**host, "Origin": origin}, settings, keyless=keyless)
            assert found == expected, origin


def test_without_keys_changes_need_a_loopback_name() -> None:
    """A name that was made to resolve to this machine is refused, unless keys protect it."""
    reason = "without keys, changes need a loopback name as the host"
    public = HttpSettings(host="0.0.0.0")
    for host, expected in (
        ("localhost", ""),
        ("127.0.0.1:8000", ""),
        ("[::1]", ""),
        ("[::1]:8000", ""),
        ("rebound.example", reason),
        ("192.0.2.1:8000", reason),
        ("[2001:db8::1]:8000", reason),
        ("", reason),
    ):
        assert refused({"Host": host}, CLOSED) == expected, host
        assert refused({"Host": host}, CLOSED, keyless=False) == ""
        assert refused({"Host": host}, public) == ""


@pytest.mark.parametrize("host", ["::1", "a[b", "localhost:99999", "localhost:x"])
@pytest.mark.parametrize("keyless", [False, True])
def test_a_host_that_is_none_is_a_bad_request(host: str, keyless: bool) -> None:
    """A Host header that cannot be read is the client's error, not one of the service."""
    request = make_mocked_request("PUT", "/model", headers={"Host": host})
    with pytest.raises(ProblemError) as caught:
        refuse_forgery(request, CLOSED, keyless=keyless)
    assert caught.value.type is BAD_REQUEST
    assert caught.value.detail == "the Host header is not a host and a port"
