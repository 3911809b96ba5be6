"""Warnings limited by reason and time."""

from __future__ import annotations

import io
import json
import time

import pytest

from volsvc.telemetry.limited_warnings import EVERY_S, LimitedWarnings
from volsvc.telemetry.logs import configure_logs, get_logger


def test_one_line_a_minute_of_each_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first event of a reason is logged, the next ones are counted in a later line."""
    now_s = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    stream = io.StringIO()
    configure_logs("info", "json", stream)
    warnings = LimitedWarnings(get_logger("volsvc.test"), "refused")
    for number in range(5):
        warnings.add("price", error=f"{number}")
        warnings.add("time", 2, error=f"{number}")
        now_s += EVERY_S / 4
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(one["reason"], one["count"], one["error"]) for one in lines] == [
        ("price", 1, "0"),
        ("time", 2, "0"),
        ("price", 4, "4"),
        ("time", 8, "4"),
    ]
    assert {(one["event"], one["level"]) for one in lines} == {("refused", "warning")}
