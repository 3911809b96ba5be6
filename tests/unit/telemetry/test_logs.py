"""Structured logs."""

from __future__ import annotations

import io
import json
import logging

import pytest
import structlog

from volsvc.telemetry.logs import configure_logs, get_logger, log_scope


def test_one_event_is_one_line_of_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events of ours and of libraries have one format, with the fields of the context."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", list(root.handlers))
    out = io.StringIO()
    try:
        configure_logs("info", "json", out)
        scope = log_scope.set(lambda: {"request_id": "abc"})
        get_logger("volsvc.test").info("swap", variant="ml")
        get_logger("volsvc.test").debug("not shown")
        get_logger("volsvc.test").error("failed", exc_info=ValueError("two\nlines"))
        log_scope.reset(scope)
        logging.getLogger("some.library").warning("careful: %s", "x")
    finally:
        structlog.reset_defaults()
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [e["event"] for e in events] == ["swap", "failed", "careful: x"]
    assert (events[0]["request_id"], events[0]["variant"]) == ("abc", "ml")
    assert all({"level", "logger", "timestamp"} <= set(e) for e in events)
    assert "two\nlines" in events[1]["exception"]


def test_names_from_outside_on_a_console(monkeypatch: pytest.MonkeyPatch) -> None:
    """Control characters of a field are escaped: an event stays on one line."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    out = io.StringIO()
    try:
        configure_logs("info", "console", out)
        get_logger("volsvc.test").info("row_skipped", file="a\x1b[2Jb", line=7)
    finally:
        structlog.reset_defaults()
    (line,) = out.getvalue().splitlines()
    assert r"file=a\x1b[2Jb" in line
    assert "\x1b" not in line
    assert "line=7" in line
