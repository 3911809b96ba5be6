"""Answers of other services: bodies of bounded size, and JSON of an expected form.

Whatever is fetched is read by these: a body without end would fill the memory, and a body of
hundreds of megabytes, or nested a thousand times, would hold or end the process that decodes it.
"""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import TypeVar

import msgspec

from volsvc.domain import VolsvcError

T = TypeVar("T")


class UnreadableAnswerError(VolsvcError):
    """An answer that is too large, no JSON, or of another form than expected."""


async def read_bounded(chunks: AsyncIterable[bytes], max_bytes: int) -> bytes:
    """Return a body that arrives in chunks; raises UnreadableAnswerError once it is larger."""
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > max_bytes:
            raise UnreadableAnswerError(f"the answer is larger than {max_bytes} bytes")
    return bytes(body)


def decode_json(body: bytes, form: type[T]) -> T:
    """Decode JSON of a form that msgspec knows; raises UnreadableAnswerError for anything else.

    Fields that the form does not have are skipped, so nothing of the result is deeply nested.
    """
    try:
        return msgspec.json.decode(body, type=form)
    # A deeply nested body exhausts the stack, and its bytes may not be UTF-8.
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise UnreadableAnswerError(f"the answer cannot be read: {error}"[:200]) from error
