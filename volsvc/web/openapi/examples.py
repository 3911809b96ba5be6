"""Examples of requests and answers for the OpenAPI document; tests send and validate them."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import volsvc

_EXAMPLES: dict[str, Any] = json.loads((files("volsvc.web.openapi") / "examples.json").read_text())

# Bodies of POST /predict, by name.
PREDICT: dict[str, Any] = _EXAMPLES["predict"]
PREDICTED: dict[str, Any] = _EXAMPLES["predicted"]
LATEST: dict[str, Any] = _EXAMPLES["latest"]
HISTORY: dict[str, Any] = _EXAMPLES["history"]
OUTCOMES: dict[str, Any] = _EXAMPLES["outcomes"]
EVENTS: dict[str, Any] = _EXAMPLES["events"]
TRACK_RECORD: dict[str, Any] = _EXAMPLES["track_record"]
HEALTH: dict[str, Any] = _EXAMPLES["health"]
VERSION: dict[str, Any] = {**_EXAMPLES["version"], "version": volsvc.__version__}
STREAM = """\
retry: 2000

id: 5f3a9c01-1207
event: gap
data: {"symbol":"BTC-USD","at":"2026-01-05T14:20:00Z","gaps":1}

"""
