"""Structured logs: one event a line, as JSON or as text for the console."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any, TextIO

import structlog

from volsvc.domain.texts import one_line

# Returns the fields added to every event of a request. It is called only for an event that is
# written, because most requests write none.
log_scope: ContextVar[Callable[[], Mapping[str, str]] | None] = ContextVar(
    "log_scope", default=None
)

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_TRACEBACKS = ("exception", "stack")


def configure_logs(level: str, style: str, stream: TextIO | None = None) -> None:
    """Write events of ours and of libraries to `stream`, standard error by default.

    Standard output is left to the output of commands.
    """
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if style == "json"
        # The tracebacks of rich show local variables, which may hold a caller's key.
        else structlog.dev.ConsoleRenderer(
            colors=(stream or sys.stderr).isatty(),
            exception_formatter=structlog.dev.plain_traceback,
        )
    )
    shared: list[Any] = [
        _merge_scope,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
    ]
    if style == "json":
        shared.append(structlog.processors.format_exc_info)
    structlog.configure(
        # The level first: events below it would otherwise cost a fifth of a request.
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _one_line_fields,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("volsvc").setLevel(_LEVELS[level])
    # aiokafka logs a hundred errors a second while a broker is away; the bus reports the change.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    # aiohttp logs a traceback for a malformed request line, which is the client's fault.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)


def _merge_scope(logger: Any, method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    scope = log_scope.get()
    return event if scope is None else {**scope(), **event}


def _one_line_fields(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> Mapping[str, Any]:
    """Escape and cut the texts of an event: a name from outside must not move a cursor."""
    return {
        # A traceback has lines of its own, and holds no text from outside but the error.
        name: one_line(value) if isinstance(value, str) and name not in _TRACEBACKS else value
        for name, value in event.items()
    }


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
