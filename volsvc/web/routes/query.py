"""Query parameters: read, checked, and refused if given twice."""

from __future__ import annotations

import math

from aiohttp import web

from volsvc.domain import float_of
from volsvc.web.problems import invalid_value

# Digits of a whole number; more than any maximum has, for those with zeros in front.
MAX_DIGITS = 18


def text_parameter(request: web.Request, name: str) -> str | None:
    """Return a query parameter, or None without it; raises ProblemError if it is given twice."""
    if not request.query_string:
        return None
    values = request.query.getall(name, ())
    # Taking one of two values would silently ignore the other.
    if len(values) > 1:
        raise invalid_value(f"#/{name}", f"must be given once, not {len(values)} times")
    return values[0] if values else None


def integer_parameter(request: web.Request, name: str, default: int, maximum: int) -> int:
    """Return a query parameter from 1 to `maximum`; raises ProblemError for anything else."""
    text = text_parameter(request, name)
    if text is None:
        return default
    # `isdigit` accepts digits like "²", and `int` takes a quadratic time for very long texts.
    plain = text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS
    if not (plain and 1 <= int(text) <= maximum):
        raise invalid_value(f"#/{name}", f"must be a whole number from 1 to {maximum}")
    return int(text)


def seconds_parameter(request: web.Request, name: str) -> float | None:
    """Return a query parameter in seconds, at least 0; raises ProblemError for anything else."""
    text = text_parameter(request, name)
    if text is None:
        return None
    try:
        value = float_of(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise invalid_value(f"#/{name}", "must be a number of seconds, 0 or more")
    return value
