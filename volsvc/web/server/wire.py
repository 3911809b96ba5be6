"""HTTP/1.1 in bytes, for requests and answers that bypass aiohttp's objects."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import SERVER_SOFTWARE, RawRequestMessage

END_OF_HEAD = b"\r\n\r\n"


def plain_head(data: bytes, message: RawRequestMessage) -> tuple[bytes, int] | None:
    """Return the head that `data` begin with, and the length of the body that it announces.

    `message` is what aiohttp's parser made of it. None if the end of the message cannot be told by
    counting: a chunked body or an upgrade, or a head with bare line feeds or blank lines in front,
    which the parser accepts.
    """
    head = data[: data.find(END_OF_HEAD) + len(END_OF_HEAD)]
    plain = head[:1].isalpha() and head.count(b"\n") == head.count(b"\r\n")
    if not plain or message.chunked or message.upgrade:
        return None
    return head, int(message.headers.get("Content-Length", 0))


def encode_response(
    status: int, reason: str, headers: Iterable[tuple[str, str]], content: bytes
) -> bytes:
    """Return a whole answer in bytes.

    Values of headers are not escaped: they must come from this service, never from a request.
    """
    lines = [
        f"HTTP/1.1 {status} {reason}",
        *[f"{name}: {value}" for name, value in headers],
        f"Content-Length: {len(content)}",
        f"Date: {rfc822_formatted_time()}",
        f"Server: {SERVER_SOFTWARE}",
        "\r\n",
    ]
    return "\r\n".join(lines).encode() + content
