"""Bodies of requests: the content codings that are undone, and JSON with a byte-order mark."""

from __future__ import annotations

import codecs
from typing import Final

from aiohttp import web

from volsvc.web.problem_types import UNSUPPORTED_CODING
from volsvc.web.problems import ProblemError

# Named in the refusal of any other; aiohttp undoes them, and `br` too where Brotli is installed.
CODINGS: Final = ("gzip", "deflate", "zstd")
_PASSED: Final = frozenset({"", "identity", *CODINGS, "br"})


def unsupported_coding() -> ProblemError:
    """Return the refusal of a body whose coding cannot be undone (RFC 9110, section 12.5.3)."""
    names = ", ".join(CODINGS)
    detail = f"Content-Encoding must be one of {names}, or left out"
    return ProblemError(UNSUPPORTED_CODING, detail, headers={"Accept-Encoding": names})


async def read_body(request: web.Request) -> bytes:
    """Return the body without its coding; raises ProblemError if that is not known."""
    coding = ",".join(request.headers.getall("Content-Encoding", ()))
    if coding.strip().lower() not in _PASSED:
        raise unsupported_coding()
    return await request.read()


def without_mark(body: bytes) -> bytes:
    """Return JSON without the byte-order mark that some programs put in front of UTF-8."""
    # RFC 8259, section 8.1, lets a reader ignore it.
    return body.removeprefix(codecs.BOM_UTF8)
