"""Rules for browsers: security headers of pages, CORS, and protection against forged requests."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from volsvc.config.http import HttpSettings
from volsvc.config.settings import is_loopback
from volsvc.web.problem_types import BAD_REQUEST, FORBIDDEN
from volsvc.web.problems import ProblemError

# Headers of an answer that is a page.
PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

_EXPOSED = "ETag, Link, RateLimit, RateLimit-Policy, Retry-After, X-Request-ID"
_REQUEST_HEADERS = (
    "Authorization, Content-Type, If-None-Match, Last-Event-ID, Prefer, X-API-Key, X-Request-ID"
)
PREFLIGHT_AGE_S = 600


def allows(settings: HttpSettings, origin: str) -> bool:
    """Return whether pages of this origin may call."""
    return bool(origin) and ("*" in settings.cors_origins or origin in settings.cors_origins)


def cors_headers(headers: Mapping[str, str], settings: HttpSettings) -> Mapping[str, str]:
    """Return the headers that let a browser show an answer to another site's page, if it may."""
    if not settings.cors_origins:
        return {}
    origin = headers.get("Origin", "")
    if not allows(settings, origin):
        return {"Vary": "Origin"}
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": _EXPOSED,
        "Vary": "Origin",
    }


def preflight(request: web.Request, settings: HttpSettings) -> web.Response | None:
    """Return the answer to a CORS preflight from an allowed origin, else None."""
    if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers:
        return None
    if not allows(settings, request.headers.get("Origin", "")):
        return None
    headers = {
        "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT",
        "Access-Control-Allow-Headers": _REQUEST_HEADERS,
        "Access-Control-Max-Age": str(PREFLIGHT_AGE_S),
    }
    return web.Response(status=204, headers=headers)


def refuse_forgery(request: web.Request, settings: HttpSettings, *, keyless: bool) -> None:
    """Raise ProblemError if another site's page may have made a visitor's browser send this.

    Such a page sends its own origin. Without keys it may also make its own name resolve to this
    machine (DNS rebinding), so that changes are then accepted under a loopback name only. A Host
    header that names no host is refused as well. Only routes that change something need this check.
    """
    origin = request.headers.get("Origin")
    own = f"{request.scheme}://{request.host}"
    if origin is not None and origin != own and not allows(settings, origin):
        raise ProblemError(FORBIDDEN, "pages of other origins may not call; see http.cors_origins")
    try:
        host = request.url.raw_host or ""
    except ValueError:
        raise ProblemError(BAD_REQUEST, "the Host header is not a host and a port") from None
    if keyless and is_loopback(settings.host) and not is_loopback(host):
        raise ProblemError(FORBIDDEN, "without keys, changes need a loopback name as the host")
