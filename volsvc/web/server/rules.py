"""Rules of every request, written once for both paths: the middleware and the fast path."""

from __future__ import annotations

import logging

from aiohttp import web
from multidict import CIMultiDictProxy

from volsvc.config.http import Scope
from volsvc.telemetry.logs import get_logger
from volsvc.web.admission import Gate
from volsvc.web.auth.access import Access
from volsvc.web.auth.api_keys import ApiKey
from volsvc.web.auth.rate_limit import quota_headers
from volsvc.web.problems import problem_of, problem_response
from volsvc.web.services import Services

log = get_logger("volsvc.web")
_levels = logging.getLogger("volsvc.web")


class RequestRules:
    """Access, quota, overload, errors, metrics and log of a request."""

    def __init__(self, services: Services, gate: Gate) -> None:
        self._keyring = services.keyring
        self._access = Access(services.keyring, services.metrics)
        self._time_request = services.metrics.http.time_request
        self.gate = gate

    def identify(self, headers: CIMultiDictProxy[str], scope: Scope) -> tuple[ApiKey, str | None]:
        """Return the caller's key, which has `scope`, and its name for the log.

        The name is None where no key is asked for. Raises ProblemError (401, 403).
        """
        key = self._access.identify(headers, scope)
        return key, None if self._keyring.open else key.name

    def admit(self, key: ApiKey, waiting: object | None = None) -> dict[str, str] | None:
        """Check load and quota, and return the headers of the quota if there is one.

        `waiting` is the connection of a request that occupies a place of `http.max_inflight`; a
        request that is answered as it comes occupies none. Raises ProblemError (429).
        """
        # Before the quota: a request that is refused for load uses up nobody's quota.
        if waiting is not None:
            self.gate.check(waiting)
        quota = self._access.consume(key)
        return None if quota is None else quota_headers(quota)

    def answer_error(
        self, error: Exception, method: str, route: str, request_id: str
    ) -> web.Response:
        """Return the problem that an error stands for; failures of ours are logged."""
        return problem_response(problem_of(error, method, route), request_id)

    def record(self, method: str, route: str, status: int, duration_s: float) -> None:
        """Count an answered request in the metrics."""
        self._time_request(method, route, status).observe(duration_s)

    @staticmethod
    def log(route: str, status: int, duration_s: float) -> None:
        """Log a request at level debug."""
        # Asked first: at the usual level the event would be built for nothing.
        if _levels.isEnabledFor(logging.DEBUG):
            log.debug("request", route=route, status=status, duration_ms=duration_s * 1e3)
