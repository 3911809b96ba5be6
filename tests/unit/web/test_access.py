"""Access: credentials against every rule, what a refusal says, and what is counted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from volsvc.config.http import AuthSettings, KeySettings, Scope
from volsvc.telemetry.metrics import Metrics
from volsvc.web.auth.access import Access
from volsvc.web.auth.api_keys import ApiKey, Keyring
from volsvc.web.problem_types import FORBIDDEN, RATE_LIMITED, UNAUTHORIZED
from volsvc.web.problems import ProblemError

REALM = 'Bearer realm="volsvc"'
INVALID = f'{REALM}, error="invalid_token"'
LACKING = f'{REALM}, error="insufficient_scope", scope="predict"'
BOTH = "send a key as Authorization: Bearer or as X-API-Key"
SECRET, LATE = "secret", "late"


def headers(pairs: Iterable[tuple[str, str]]) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict(pairs))


class Door:
    """Access for two keys, one of them expired, and the counts of refusals."""

    def __init__(self, *, rate_per_minute: int = 0) -> None:
        keys = (
            KeySettings.model_validate(
                {"name": name, "sha256": hashlib.sha256(name.encode()).hexdigest(), **more}
            )
            for name, more in (
                (SECRET, {"scopes": ("read",)}),
                (LATE, {"scopes": ("read", "predict"), "expires": "2020-01-01T00:00:00Z"}),
            )
        )
        self.metrics = Metrics()
        settings = AuthSettings(keys=tuple(keys), rate_per_minute=rate_per_minute)
        self.access = Access(Keyring(settings), self.metrics)

    def refused(self) -> dict[str, float]:
        """Return the counts of refusals by reason, without those of 0."""
        (family,) = (
            family
            for family in self.metrics.registry.collect()
            if family.name == "volsvc_auth_refusals"
        )
        return {s.labels["reason"]: s.value for s in family.samples if s.value}


@pytest.mark.parametrize(
    "credential",
    [
        ("X-API-Key", SECRET),
        ("Authorization", f"Bearer {SECRET}"),
        ("authorization", f" bEARER   {SECRET} "),
    ],
)
def test_a_key_is_accepted_from_either_header(credential: tuple[str, str]) -> None:
    """The caller is that of the key, and nothing is counted."""
    door = Door()
    assert door.access.identify(headers([credential]), "read").name == SECRET
    assert door.refused() == {}


@pytest.mark.parametrize(
    ("given", "scope", "reason", "detail", "challenge"),
    [
        ([], "read", "missing", BOTH, REALM),
        ([("X-API-Key", SECRET)] * 2, "read", "missing", BOTH, REALM),
        (
            [("X-API-Key", SECRET), ("Authorization", f"Bearer {SECRET}")],
            "read",
            "missing",
            BOTH,
            REALM,
        ),
        ([("X-API-Key", "other")], "read", "unknown", "the key is not known", INVALID),
        ([("Authorization", SECRET)], "read", "unknown", "the key is not known", INVALID),
        ([("X-API-Key", LATE)], "read", "expired", "the key has expired", INVALID),
        ([("X-API-Key", SECRET)], "predict", "scope", "the key lacks the scope 'predict'", LACKING),
    ],
)
def test_a_refusal_says_why_and_is_counted(
    given: list[tuple[str, str]], scope: Scope, reason: str, detail: str, challenge: str
) -> None:
    """A refusal is 401, or 403 for a key without the scope, with the challenge of RFC 6750."""
    door = Door()
    with pytest.raises(ProblemError) as caught:
        door.access.identify(headers(given), scope)
    assert caught.value.type is (FORBIDDEN if reason == "scope" else UNAUTHORIZED)
    assert caught.value.detail == detail
    assert caught.value.headers == {"WWW-Authenticate": challenge}
    assert door.refused() == {reason: 1}


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", f"Basic {SECRET}", "Bearer a b"])
def test_what_is_no_bearer_token_is_looked_up_as_nothing(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a header presents the empty text, which is no key, whatever it holds."""
    asked: list[str] = []
    monkeypatch.setattr(Keyring, "find", lambda _, presented: asked.append(presented))
    with pytest.raises(ProblemError, match="not known"):
        Door().access.identify(headers([("Authorization", value)]), "read")
    assert asked == [""]


def test_a_used_up_quota_is_refused() -> None:
    """The request beyond the quota is 429, with the quota in its headers; another key goes on."""
    access = Door().access
    caller = ApiKey("a", b"", frozenset(), None, 2)
    quotas = [access.consume(caller) for _ in range(2)]
    assert [(quota.most, quota.left) for quota in quotas if quota] == [(2, 1), (2, 0)]
    with pytest.raises(ProblemError) as caught:
        access.consume(caller)
    assert caught.value.type is RATE_LIMITED
    assert caught.value.detail == "2 requests a minute are used up"
    assert list(caught.value.headers) == ["RateLimit-Policy", "RateLimit", "Retry-After"]
    assert access.consume(ApiKey("b", b"", frozenset(), None, 2)) is not None
    assert access.consume(ApiKey("c", b"", frozenset(), None, 0)) is None
