"""Clients that read slowly but steadily, each answer on a connection of its own."""

from __future__ import annotations

import asyncio
import random
import socket
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.daemon import RunningDaemon
from tests.load.phases import Course
from tests.web.test_slow_readers import SCRIPT

PATHS = ("/latest", SCRIPT, "/stream?limit=400")
READERS = 9
# Bytes of a reader's buffers, in the kernel and in the client.
BUFFER = 16_384
# Bytes of a segment, as on Ethernet: the loopback's own are so long that the kernel of the service
# would take a whole answer at once.
SEGMENT = 1_448
# Bytes per second, from the slowest reader to the fastest.
PACES = (100_000, 500_000)
# A reader that gets nothing for so long counts its answer as cut.
SILENCE_S = 30.0


@dataclass(slots=True)
class Life:
    """A process of the service; `ending` is set before it is killed, or has a reason to end."""

    daemon: RunningDaemon
    ending: bool = False
    ready_s: float = 0.0
    peak_mb: float = 0.0
    at_s: list[float] = field(default_factory=list)
    rss_mb: list[float] = field(default_factory=list)


class SlowReaders:
    """Readers that ask the living process of the service again and again."""

    def __init__(self, course: Course) -> None:
        self._course = course
        self._life: Life | None = None
        self._lives = asyncio.Event()
        self.by_path: Counter[str] = Counter()
        self.bytes = 0

    def ask(self, life: Life | None) -> None:
        """Ask another process from now on; None is none, until the next one lives."""
        self._life = life
        if life is None:
            self._lives.clear()
        else:
            self._lives.set()

    async def run(self) -> None:
        """Read until cancelled."""
        timeout = aiohttp.ClientTimeout(total=None, sock_read=SILENCE_S)
        connector = aiohttp.TCPConnector(force_close=True, limit=0, socket_factory=small_buffer)
        async with (
            aiohttp.ClientSession(
                connector=connector,
                timeout=timeout,
                read_bufsize=BUFFER,
                headers={"Accept-Encoding": "identity"},
            ) as session,
            asyncio.TaskGroup() as group,
        ):
            for number in range(READERS):
                group.create_task(self._read_on(session, number))

    async def _read_on(self, session: aiohttp.ClientSession, number: int) -> None:
        dice = random.Random(number)
        while True:
            await self._lives.wait()
            life, path = self._life, PATHS[number % len(PATHS)]
            assert life is not None
            number += 1
            try:
                received = await read_slowly(session, life.daemon.url + path, dice.uniform(*PACES))
            except aiohttp.ClientConnectorError:
                # Nobody is asked at the address of a process that has ended.
                if not life.ending:
                    self._course.fault(f"{path}: no connection")
                await asyncio.sleep(0)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                self._cut(life, path, repr(error))
            else:
                self._course.phase.whole += 1
                self.by_path[path] += 1
                self.bytes += received

    def _cut(self, life: Life, path: str, error: str) -> None:
        if life.ending:
            self._course.phase.ended += 1
        else:
            self._course.phase.cut += 1
            self._course.fault(f"{path}: cut after a while: {error}")


async def read_slowly(session: aiohttp.ClientSession, url: str, pace: float) -> int:
    """Read an answer at a pace, in bytes per second; return its length.

    Raises ClientError if it ends before its Content-Length, or before its last chunk.
    """
    loop = asyncio.get_running_loop()
    began_s, received = loop.time(), 0
    async with session.get(url, raise_for_status=True) as response:
        while piece := await response.content.read(BUFFER):
            received += len(piece)
            await asyncio.sleep(max(0.0, began_s + received / pace - loop.time()))
    return received


def small_buffer(address: tuple[Any, ...]) -> socket.socket:
    """Return a socket that takes little which has not been read."""
    made = socket.socket(*address[:3])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT)
    made.setblocking(False)
    return made
