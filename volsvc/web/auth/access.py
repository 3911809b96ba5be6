"""Access control: the caller's key, its scopes and its quota."""

from __future__ import annotations

import re
import time

from multidict import CIMultiDictProxy

from volsvc.config.http import Scope
from volsvc.telemetry.metrics import Metrics
from volsvc.web.auth.api_keys import ApiKey, Keyring
from volsvc.web.auth.rate_limit import Quota, RateLimiter, quota_headers
from volsvc.web.problem_types import FORBIDDEN, RATE_LIMITED, UNAUTHORIZED
from volsvc.web.problems import ProblemError

REALM = 'Bearer realm="volsvc"'
_BEARER = re.compile(r"Bearer +([\x21-\x7e]+)", re.IGNORECASE)


class Access:
    """Checks keys and quotas, and counts refusals."""

    def __init__(self, keyring: Keyring, metrics: Metrics) -> None:
        self._keyring = keyring
        self._limiter = RateLimiter()
        self._metrics = metrics

    def identify(self, headers: CIMultiDictProxy[str], scope: Scope) -> ApiKey:
        """Return the caller's key, which has `scope`; raises ProblemError (401, 403)."""
        if self._keyring.open:
            return self._keyring.anyone
        presented = _presented(headers)
        if presented is None:
            raise self._refusal("missing", "send a key as Authorization: Bearer or as X-API-Key")
        key = self._keyring.find(presented)
        if key is None:
            raise self._refusal("unknown", "the key is not known", ', error="invalid_token"')
        if key.expired(time.time()):
            raise self._refusal("expired", "the key has expired", ', error="invalid_token"')
        if scope not in key.scopes:
            self._metrics.http.auth_refusals.labels("scope").inc()
            challenge = f'{REALM}, error="insufficient_scope", scope="{scope}"'
            detail = f"the key lacks the scope {scope!r}"
            raise ProblemError(FORBIDDEN, detail, headers={"WWW-Authenticate": challenge})
        return key

    def consume(self, key: ApiKey) -> Quota | None:
        """Take one request off the key's quota; raises ProblemError (429) if none is left."""
        quota = self._limiter.take(key, time.monotonic())
        if quota is not None and quota.wait_s:
            detail = f"{quota.most} requests a minute are used up"
            raise ProblemError(RATE_LIMITED, detail, headers=quota_headers(quota))
        return quota

    def _refusal(self, reason: str, detail: str, more: str = "") -> ProblemError:
        self._metrics.http.auth_refusals.labels(reason).inc()
        return ProblemError(UNAUTHORIZED, detail, headers={"WWW-Authenticate": REALM + more})


def _presented(headers: CIMultiDictProxy[str]) -> str | None:
    """Return the one credential of a request, or None.

    Two credentials count as none: which of them was meant cannot be known.
    """
    found = list(headers.getall("X-API-Key", ()))
    for value in headers.getall("Authorization", ()):
        match = _BEARER.fullmatch(value.strip())
        found.append(match[1] if match else "")
    return found[0] if len(found) == 1 else None
