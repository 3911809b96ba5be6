"""Query parameters: read, checked, and refused if given twice."""

from __future__ import annotations

import math
import re
from collections.abc import Collection

from aiohttp import web

from volsvc.domain import float_of, parse_time
from volsvc.web.problems import invalid_value

# Digits of a whole number; more than any maximum has, for those with zeros in front.
MAX_DIGITS = 18
_DURATION = re.compile(r"([0-9]{1,9})([smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def text_parameter(request: web.Request, name: str) -> str | None:
    """Return a query parameter, or None without it; raises ProblemError if it is given twice."""
    if not request.query_string:
        return None
    values = request.query.getall(name, ())
    # Taking one of two values would silently ignore the other.
    if len(values) > 1:
        raise invalid_value(f"#/{name}", f"must be given once, not {len(values)} times")
    return values[0] if values else None


def integer_parameter(
    request: web.Request, name: str, default: int, maximum: int, minimum: int = 1
) -> int:
    """Return a query parameter in a range; raises ProblemError for anything else."""
    text = text_parameter(request, name)
    if text is None:
        return default
    # `isdigit` accepts digits like "²", and `int` takes a quadratic time for very long texts.
    plain = text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS
    if not (plain and minimum <= int(text) <= maximum):
        raise invalid_value(f"#/{name}", f"must be a whole number from {minimum} to {maximum}")
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


def time_parameter(request: web.Request, name: str) -> int | None:
    """Return a query parameter in ns since the epoch; raises ProblemError if it is no time."""
    text = text_parameter(request, name)
    try:
        return None if text is None else parse_time(text)
    except ValueError as error:
        raise invalid_value(f"#/{name}", str(error)) from error


def duration_parameter(request: web.Request, name: str) -> int | None:
    """Return a query parameter in whole minutes: seconds, or a number with s, m, h or d.

    Raises ProblemError for anything else.
    """
    text = text_parameter(request, name)
    if text is None:
        return None
    match = _DURATION.fullmatch(text)
    seconds = int(match[1]) * _SECONDS[match[2]] if match else 0
    if seconds == 0 or seconds % 60:
        raise invalid_value(f"#/{name}", "must be whole minutes, such as 300, 5m, 1h or 1d")
    return seconds // 60


def names_parameter(request: web.Request, name: str, known: Collection[str]) -> list[str] | None:
    """Return the names in a comma-separated list; raises ProblemError if one is not known."""
    text = text_parameter(request, name)
    if text is None:
        return None
    names = [one.strip() for one in text.split(",")]
    unknown = next((one for one in names if one not in known), None)
    if unknown is not None:
        raise invalid_value(f"#/{name}", f"has no {unknown[:40]!r}; known are {', '.join(known)}")
    return names
