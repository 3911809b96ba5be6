"""What concerns browsers: headers of pages, and which other sites' pages may call."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from volsvc.config.http import HttpSettings
from volsvc.config.settings import is_loopback
from volsvc.web.problems import FORBIDDEN, ProblemError

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

_EXPOSED = "ETag, RateLimit, RateLimit-Policy, Retry-After, X-Request-ID"
_REQUEST_HEADERS = (
    "Authorization, Content-Type, If-None-Match, Last-Event-ID, Prefer, X-API-Key, X-Request-ID"
)
PREFLIGHT_AGE_S = 600


def allows(settings: HttpSettings, origin: str) -> bool:
    """Whether pages of this origin may call."""
    return bool(origin) and ("*" in settings.cors_origins or origin in settings.cors_origins)


def cors_headers(headers: Mapping[str, str], settings: HttpSettings) -> Mapping[str, str]:
    """What a browser needs to show an answer to another site's page; empty unless it may."""
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
    """The answer to a browser that asks whether a page may call; None if it is not one."""
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
    """Raises ProblemError when another site's page makes a visitor's browser ask for a change.

    Such a page sends its own origin. Where no key is asked for it may also make its own name lead
    to this machine, so changes are then taken under a name of the loopback interface alone.
    Routes that change nothing need no such care.
    """
    origin = request.headers.get("Origin")
    own = f"{request.scheme}://{request.host}"
    if origin is not None and origin != own and not allows(settings, origin):
        raise ProblemError(FORBIDDEN, "pages of other origins may not call; see http.cors_origins")
    host = request.url.raw_host or ""
    if keyless and is_loopback(settings.host) and not is_loopback(host.strip("[]")):
        raise ProblemError(FORBIDDEN, "without keys, changes need a loopback name as the host")
