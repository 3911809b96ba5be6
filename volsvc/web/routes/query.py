"""What a request asks for behind the `?`: each parameter once, and of its kind."""

from __future__ import annotations

import math

from aiohttp import web

from volsvc.web.problems import fault, invalid


def parameter(request: web.Request, name: str) -> str | None:
    """A parameter of the query; raises ProblemError where it is given twice: which one counts?"""
    if not request.query_string:
        return None
    given = request.query.getall(name, ())
    if len(given) > 1:
        raise invalid([fault(f"#/{name}", f"must be given once, not {len(given)} times")])
    return given[0] if given else None


def whole_number(request: web.Request, name: str, default: int, most: int) -> int:
    """A parameter from 1 to `most`; raises ProblemError for anything else."""
    text = parameter(request, name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= most):
        raise invalid([fault(f"#/{name}", f"must be a whole number from 1 to {most}")])
    return int(text)


def seconds(request: web.Request, name: str) -> float | None:
    """A parameter in seconds, 0 or more; raises ProblemError for anything else."""
    text = parameter(request, name)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise invalid([fault(f"#/{name}", "must be a number of seconds, 0 or more")])
    return value
