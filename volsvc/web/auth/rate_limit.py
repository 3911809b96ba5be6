"""Quotas: one token bucket per key."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from volsvc.web.auth.api_keys import ApiKey

WINDOW_S = 60.0


class Quota(NamedTuple):
    """A key's quota of `most` requests a minute, after a request.

    `left` requests remain, and the quota is whole again after `reset_s` seconds. `wait_s` is 0 if
    the request may pass, else the time in seconds until one may.
    """

    most: int
    left: int
    reset_s: float
    wait_s: float


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at_s: float


class RateLimiter:
    """Token buckets by the name of the key, each full after a minute without a request."""

    def __init__(self) -> None:
        self._buckets: dict[str, _Bucket] = {}

    def take(self, key: ApiKey, now_s: float) -> Quota | None:
        """Take one request off the key's quota at a monotonic time; None if it has no limit."""
        most = key.rate_per_minute
        if not most:
            return None
        bucket = self._buckets.setdefault(key.name, _Bucket(most, now_s))
        rate = most / WINDOW_S
        bucket.tokens = min(most, bucket.tokens + max(0.0, now_s - bucket.at_s) * rate)
        bucket.at_s = now_s
        wait_s = max(0.0, (1 - bucket.tokens) / rate)
        if not wait_s:
            bucket.tokens -= 1
        return Quota(most, int(bucket.tokens), (most - bucket.tokens) / rate, wait_s)


def quota_headers(quota: Quota) -> dict[str, str]:
    """Return the headers of draft-ietf-httpapi-ratelimit-headers."""
    # The draft may still change: nothing outside this function knows its syntax.
    headers = {
        "RateLimit-Policy": f'"default";q={quota.most};w={WINDOW_S:.0f}',
        "RateLimit": f'"default";r={quota.left};t={math.ceil(quota.reset_s)}',
    }
    if quota.wait_s:
        headers["Retry-After"] = str(math.ceil(quota.wait_s))
    return headers
