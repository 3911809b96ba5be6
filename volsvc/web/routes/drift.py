"""The routes of drift: what the newest check found, and its report."""

from __future__ import annotations

from aiohttp import web

from volsvc.drift.report import EMPTY, POLICY, with_our_part
from volsvc.web.problems import NO_REPORT, ProblemError
from volsvc.web.routes.answers import json_response
from volsvc.web.services import SERVICES
from volsvc.web.views import now_text

REPORT_HEADERS = {
    # A sandbox gives the page an origin of its own: its scripts cannot act as the reader.
    "Content-Security-Policy": f"{POLICY}; sandbox allow-scripts",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


async def drift(request: web.Request) -> web.Response:
    """GET /drift: the result of the newest check, and what is gathered for the next."""
    watch = request.app[SERVICES].drift
    state = watch.state() if watch is not None else {}
    return json_response({"ts": now_text(), "enabled": watch is not None, **state})


async def report(request: web.Request) -> web.StreamResponse:
    """GET /drift/report: the newest report as a page; without Evidently, our verdicts alone."""
    watch = request.app[SERVICES].drift
    if watch is None:
        raise ProblemError(NO_REPORT, "drift is not checked here: see /health, and drift.enabled")
    path = watch.report()
    if path is not None:
        return web.FileResponse(path, headers=REPORT_HEADERS)
    page = with_our_part(EMPTY, watch.last)
    return web.Response(text=page, content_type="text/html", headers=REPORT_HEADERS)
