"""What every answer has in common, whichever way it came about."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import SERVER_SOFTWARE

from volsvc.telemetry.logs import get_logger

REQUEST_ID = "X-Request-ID"
# A header of every answer: a browser takes it for what it says it is.
SAFE = {"X-Content-Type-Options": "nosniff"}

log = get_logger("volsvc.web")
_levels = logging.getLogger("volsvc.web")


def written(status: int, reason: str, headers: Iterable[tuple[str, str]], content: bytes) -> bytes:
    """An answer as it goes over the wire (HTTP/1.1); the headers' values come from us."""
    lines = [
        f"HTTP/1.1 {status} {reason}",
        *[f"{name}: {value}" for name, value in headers],
        f"Content-Length: {len(content)}",
        f"Date: {rfc822_formatted_time()}",
        f"Server: {SERVER_SOFTWARE}",
        "\r\n",
    ]
    return "\r\n".join(lines).encode() + content


def log_request(route: str, status: int, took_s: float) -> None:
    """One event a request, for who asks for it."""
    if _levels.isEnabledFor(logging.DEBUG):
        log.debug("request", route=route, status=status, duration_ms=took_s * 1e3)
