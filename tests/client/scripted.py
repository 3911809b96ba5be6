"""An HTTP server that answers what a test wrote down, one answer a request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web


@dataclass(frozen=True)
class Said:
    """An answer; with `cut` the connection breaks where its body ends."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


@dataclass
class Script:
    """Answers in their order, the last one for ever, and what was asked."""

    answers: Sequence[Said]
    url: str = ""
    asked: list[web.Request] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The next answer."""
        await request.read()
        said = self.answers[min(len(self.asked), len(self.answers) - 1)]
        self.asked.append(request)
        response = web.StreamResponse(status=said.status, headers=said.headers)
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(said.body)
        if said.cut:
            assert request.transport is not None
            request.transport.close()
        else:
            await response.write_eof()
        return response


@asynccontextmanager
async def scripted(*answers: Said) -> AsyncIterator[Script]:
    """A server on a free port that follows a script."""
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
