"""Handlers of drift: the result of the newest check, and its report."""

from __future__ import annotations

from aiohttp import web

from volsvc.drift.report import EMPTY, POLICY, with_verdicts
from volsvc.web.problem_types import NO_REPORT
from volsvc.web.problems import ProblemError
from volsvc.web.routes.answers import json_response
from volsvc.web.services import SERVICES
from volsvc.web.views import now_text

REPORT_HEADERS = {
    # The report is made by a library. A sandbox gives it an origin of its own, so that its scripts
    # cannot act with the rights of its reader.
    "Content-Security-Policy": f"{POLICY}; sandbox allow-scripts",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


async def drift(request: web.Request) -> web.Response:
    """GET /drift: the result of the newest check, and the rows gathered for the next."""
    monitor = request.app[SERVICES].drift
    state = monitor.state() if monitor is not None else {}
    return json_response({"ts": now_text(), "enabled": monitor is not None, **state})


async def drift_report(request: web.Request) -> web.StreamResponse:
    """GET /drift/report: the newest report as a page, or the verdicts alone without Evidently."""
    monitor = request.app[SERVICES].drift
    if monitor is None:
        detail = "drift is not checked here; see drift.enabled, and the check drift in /health"
        raise ProblemError(NO_REPORT, detail)
    path = monitor.report()
    if path is not None:
        return web.FileResponse(path, headers=REPORT_HEADERS)
    page = with_verdicts(EMPTY, monitor.last)
    return web.Response(text=page, content_type="text/html", headers=REPORT_HEADERS)
