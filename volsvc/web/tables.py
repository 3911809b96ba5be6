"""Answers of many rows, in the format that the caller accepts."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, Final

import msgspec
from aiohttp import web

from volsvc.sources.recordings.tables.row_formats import (
    columns_of_rows,
    write_csv,
    write_ndjson,
    write_parquet,
)
from volsvc.store.columns import Columns, rows_of
from volsvc.web.problem_types import NOT_ACCEPTABLE
from volsvc.web.problems import ProblemError

JSON, NDJSON, CSV, PARQUET = MEDIA_TYPES = (
    "application/json",
    "application/x-ndjson",
    "text/csv",
    "application/vnd.apache.parquet",
)
_TEXTS: Final = {NDJSON: write_ndjson, CSV: write_csv}


def accepted_format(request: web.Request) -> str:
    """Return the one of MEDIA_TYPES that the caller likes best, the first one without a wish.

    Raises ProblemError (406) if none of them is accepted.
    """
    # A library of an extra.
    has_parquet = find_spec("pyarrow") is not None
    offered = MEDIA_TYPES if has_parquet else MEDIA_TYPES[:-1]
    wishes = dict(_ranges(",".join(request.headers.getall("Accept", ())) or "*/*"))
    qualities = [_quality(media, wishes) for media in offered]
    best = max(qualities)
    if best <= 0:
        more = "" if has_parquet else f"; {PARQUET} needs the extra `parquet` of the service"
        raise ProblemError(NOT_ACCEPTABLE, f"offered are {', '.join(offered)}{more}")
    return offered[qualities.index(best)]


def _ranges(accept: str) -> Iterator[tuple[str, float]]:
    """Yield the media ranges of a header `Accept` with their qualities (RFC 9110, 12.5.1)."""
    for part in accept.lower().split(","):
        media, *parameters = (word.strip() for word in part.split(";"))
        quality = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                try:
                    quality = float(value)
                except ValueError:
                    quality = 0.0
        yield media, quality


def _quality(media: str, wishes: Mapping[str, float]) -> float:
    """Return the quality of the most specific range that covers a media type."""
    kind = media.partition("/")[0]
    found = (wishes[one] for one in (media, f"{kind}/*", "*/*") if one in wishes)
    return next(found, 0.0)


@lru_cache(maxsize=64)
def _row_type(names: tuple[str, ...]) -> type[msgspec.Struct]:
    """Return the type of a JSON object with these names: a day of dicts would take 5 ms more."""
    return msgspec.defstruct("Row", names, gc=False)


def encode_table(media: str, columns: Columns, envelope: Mapping[str, Any]) -> bytes:
    """Return columns as a body of one of MEDIA_TYPES; JSON has `rows` beside an envelope.

    Raises SourceError for Parquet without its library.
    """
    names = list(columns)
    if media == PARQUET:
        raw = io.BytesIO()
        write_parquet(raw, names, columns_of_rows(rows_of(columns, missing=float("nan"))))
        return raw.getvalue()
    rows = rows_of(columns)
    if media == JSON:
        row_type = _row_type(tuple(names))
        objects = [row_type(*row) for row in rows]
        return msgspec.json.encode({**envelope, "rows": objects})
    text = io.StringIO()
    _TEXTS[media](text, names, columns_of_rows(rows))
    return text.getvalue().encode()
