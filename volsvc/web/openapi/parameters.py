"""Parameters of the routes, as the OpenAPI document lists them."""

from __future__ import annotations

from volsvc.domain.fields import SYMBOL_LETTERS
from volsvc.web.openapi.route import header_parameter, path_parameter, query_parameter
from volsvc.web.routes.latest import DEFAULT_HISTORY, MAX_HISTORY
from volsvc.web.routes.models import DEFAULT_ENTRIES, MAX_ENTRIES
from volsvc.web.routes.stream import MAX_EVENTS

SYMBOL = path_parameter("symbol", "BTC-USD", maxLength=64)
HISTORY_LIMIT = query_parameter(
    "limit",
    "Maximum number of rows, of forecasts and of outcomes; features.history bounds each of them",
    {"type": "integer", "minimum": 1, "maximum": MAX_HISTORY, "default": DEFAULT_HISTORY},
    5,
)
MAX_AGE = query_parameter(
    "max_age",
    "Answer 503 if the data is older than this number of seconds",
    {"type": "number", "minimum": 0},
)
IF_NONE_MATCH = header_parameter(
    "If-None-Match", "The ETag of the caller's copy", 'W/"00f1a2b3c4d5e6f708091a2b"'
)
PREFER = header_parameter(
    "Prefer",
    "With `handling=lenient`, valid rows are answered although others are invalid",
    "handling=strict",
)
LAST_EVENT_ID = header_parameter(
    "Last-Event-ID", "The id of the last event received", "5f3a9c01-1207"
)
STREAM_SYMBOLS = query_parameter(
    "symbols",
    "Only these symbols, separated by commas",
    {"type": "string", "minLength": 1, "maxLength": 4096, "pattern": f"^[{SYMBOL_LETTERS}]"},
    "BTC-USD,ETH-USD",
)
STREAM_LIMIT = query_parameter(
    "limit",
    "End after this number of events; by default the stream does not end",
    {"type": "integer", "minimum": 1, "maximum": MAX_EVENTS},
    1,
)
PROBLEM_SLUG = path_parameter("slug", "overloaded")
DOCS_FILE = path_parameter("name", "start.js")
PAGE_FILE = path_parameter("name", "main.js")
AT = query_parameter(
    "at",
    "A time (RFC 3339): also return the entry of the model that was active then",
    {"type": "string", "format": "date-time"},
)
ENTRY_LIMIT = query_parameter(
    "limit",
    "Maximum number of entries",
    {"type": "integer", "minimum": 1, "maximum": MAX_ENTRIES, "default": DEFAULT_ENTRIES},
)
SCORES_SYMBOL = query_parameter(
    "symbol", "Only the scores of this symbol", {"type": "string", "maxLength": 64}
)
METRIC_NAMES = query_parameter(
    "name[]", "Only these series", {"type": "array", "items": {"type": "string"}}
)
