"""Parameters of the routes, as the OpenAPI document lists them."""

from __future__ import annotations

from volsvc.domain.fields import SYMBOL_LETTERS
from volsvc.pipeline.event_hub import KEPT_KINDS
from volsvc.store.outcomes import MOST_OF_MINUTE
from volsvc.web.openapi.route import header_parameter, path_parameter, query_parameter
from volsvc.web.routes.latest import DEFAULT_HISTORY
from volsvc.web.routes.models import DEFAULT_ENTRIES, MAX_ENTRIES
from volsvc.web.routes.past import (
    DEFAULT_DAYS,
    DEFAULT_EVENTS,
    DEFAULT_ROWS,
    MAX_DAYS,
    MAX_HISTORY,
    MAX_ROWS,
    MAX_SYMBOL_DAYS,
)
from volsvc.web.routes.stream import MAX_EVENTS
from volsvc.web.tables import JSON

SYMBOL = path_parameter("symbol", "BTC-USD", maxLength=64)
HISTORY_LIMIT = query_parameter(
    "limit",
    "Maximum number of rows, of forecasts and of outcomes; features.history bounds each of them."
    f" With a range, at most {MAX_ROWS} rows of the past, by default {DEFAULT_ROWS}",
    {"type": "integer", "minimum": 1, "maximum": MAX_HISTORY, "default": DEFAULT_HISTORY},
    5,
)
_WHEN = {"type": "string", "format": "date-time"}
START = query_parameter(
    "start",
    "Rows after this time (RFC 3339, or seconds, ms, µs or ns since 1970); by default a day long",
    _WHEN,
)
END = query_parameter("end", "Rows up to this time; by default the newest", _WHEN)
STEP = query_parameter(
    "step",
    "Whole minutes of a row, at most 7d: seconds, or such as 5m, 1h or 1d",
    {"type": "string", "default": "1m"},
)
FIELDS = query_parameter(
    "fields", "Only these fields beside `time`, separated by commas", {"type": "string"}
)
HORIZON = query_parameter(
    "horizon",
    "Only this horizon: seconds, or such as 5m or 1h",
    {"type": "string", "enum": ["60", "300", "900", "3600", "1m", "5m", "15m", "60m", "1h"]},
    "5m",
)
OUTCOME_LIMIT = query_parameter(
    "limit",
    "Maximum number of rows",
    {"type": "integer", "minimum": MOST_OF_MINUTE, "maximum": MAX_ROWS, "default": DEFAULT_ROWS},
    100,
)
ACCEPT_ROWS = header_parameter(
    "Accept",
    "The format of the rows: JSON, NDJSON, CSV, or Parquet where the service has its library",
    JSON,
)
RECORD_SYMBOL = query_parameter(
    "symbol",
    "Only this symbol; by default all of them together",
    {"type": "string", "minLength": 1, "maxLength": 64},
    "BTC-USD",
)
RECORD_DAYS = query_parameter(
    "days",
    f"UTC days up to the newest minute; of all symbols together at most {MAX_SYMBOL_DAYS}",
    {"type": "integer", "minimum": 1, "maximum": MAX_DAYS, "default": DEFAULT_DAYS},
    7,
)
EVENT_KIND = query_parameter(
    "kind", "Only this kind", {"type": "string", "enum": list(KEPT_KINDS)}, "model"
)
EVENT_START = query_parameter(
    "start", "Events after this time, as for /history; by default the newest", _WHEN
)
EVENT_END = query_parameter("end", "Events up to this time; by default the newest", _WHEN)
EVENT_LIMIT = query_parameter(
    "limit",
    "Maximum number of events, but for those of one time",
    {"type": "integer", "minimum": 1, "maximum": MAX_ROWS, "default": DEFAULT_EVENTS},
    100,
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
