"""The limit on open files: raised as far as connections need, else fewer connections are taken."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.daemon import RunningDaemon, clean_environment, serving
from volsvc.web.server.open_files import RESERVED_FILES

ASK = """
import json, resource, sys
from volsvc.web.server.open_files import most_connections
soft, hard, wanted = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(json.dumps([most_connections(wanted), *resource.getrlimit(resource.RLIMIT_NOFILE)]))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "expected"),
    [
        (64, 500, 100, (100, 100 + RESERVED_FILES, 500)),
        (400, 500, 100, (100, 400, 500)),
        (64, 500, 244, (244, 500, 500)),
        (64, 500, 245, (244, 500, 500)),
        (64, 500, 9_000, (244, 500, 500)),
        (64, 64, 100, (1, 64, 64)),
    ],
)
def test_the_limit_is_raised_before_connections_are_cut(
    soft: int, hard: int, wanted: int, expected: tuple[int, ...]
) -> None:
    """The soft limit rises to what is needed, at most to the hard one; it is never lowered."""
    arguments = [str(number) for number in (soft, hard, wanted)]
    command = [sys.executable, "-c", ASK, *arguments]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    assert tuple(json.loads(done.stdout)) == expected


@asynccontextmanager
async def limited(limit: str, folder: Path, connections: int) -> AsyncIterator[RunningDaemon]:
    """Run a daemon under a limit of the shell."""
    arguments = ("-m", "volsvc", "run", "--source", "none", "--port", "0")
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", f'ulimit {limit} && exec "$@"', "bash", sys.executable, *arguments),
        env={**clean_environment(), "VOLSVC_HTTP__MAX_CONNECTIONS": str(connections)},
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with serving(process) as daemon:
        yield daemon


async def statuses_of_crowd(daemon: RunningDaemon, count: int) -> list[int]:
    """Return the answers to so many connections that are open together."""
    host, port = daemon.url.removeprefix("http://").split(":")
    head = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    found = []
    async with contextlib.AsyncExitStack() as stack, asyncio.timeout(60):
        for _ in range(count):
            reader, writer = await asyncio.open_connection(host, int(port))
            stack.callback(writer.close)
            writer.write(head)
            found.append(int((await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1]))
    return found


@pytest.mark.long
async def test_a_hard_limit_lowers_the_connections(tmp_path: Path) -> None:
    """One more than the files allow gets an answer, and health and log name limit and remedy."""
    allowed = 44
    async with limited(f"-n {RESERVED_FILES + allowed}", tmp_path, 8_192) as daemon:
        check = (await daemon.get("/health"))["checks"]["connections"]
        assert check["status"] == "degraded"
        assert f"http.max_connections = 8192: lowered to {allowed}" in check["detail"]
        assert "ulimit -n" in check["detail"]
        # The client that asked for the health keeps a connection.
        statuses = await statuses_of_crowd(daemon, allowed + 20)
        assert statuses == [200] * (allowed - 1) + [429] * 21
        assert await daemon.stop() == 0
        assert '"event": "max_connections_lowered"' in daemon.log
        assert "accept_paused" not in daemon.log


@pytest.mark.long
async def test_a_soft_limit_is_raised(tmp_path: Path) -> None:
    """As many connections as were asked for are served."""
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 2_000:
        pytest.skip("the hard limit on open files is low here")
    async with limited("-Sn 300", tmp_path, 700) as daemon:
        assert (await daemon.get("/health"))["checks"]["connections"]["status"] == "ok"
        assert await statuses_of_crowd(daemon, 600) == [200] * 600
        assert await daemon.stop() == 0
