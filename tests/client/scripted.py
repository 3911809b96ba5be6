"""An HTTP server with scripted answers, one for each request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web


@dataclass(frozen=True)
class Reply:
    """An answer; with `cut` the connection is reset after its body."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


@dataclass
class Script:
    """The answers in order, of which the last one is repeated, and the requests so far."""

    answers: Sequence[Reply]
    url: str = ""
    requests: list[web.Request] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Send the next answer."""
        await request.read()
        answer = self.answers[min(len(self.requests), len(self.answers) - 1)]
        self.requests.append(request)
        response = web.StreamResponse(status=answer.status, headers=answer.headers)
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(answer.body)
        if answer.cut:
            assert request.transport is not None
            request.transport.close()
        else:
            await response.write_eof()
        return response


@asynccontextmanager
async def scripted(*answers: Reply) -> AsyncIterator[Script]:
    """Run a server with a script on a free port."""
    script = Script(answers)
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", script.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    script.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield script
    finally:
        await runner.cleanup()
