"""`volsvc top` on a running daemon."""

from __future__ import annotations

import asyncio
import fcntl
import io
import os
import signal
import struct
import sys
import termios
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from rich.console import Console

from tests.daemon import command, eventually, running
from tests.web.serving import serving
from volsvc.client import Client, Retries
from volsvc.commands.top.view import ViewOptions, render
from volsvc.commands.top.watcher import Watcher

SYMBOLS = ("BTC-USD", "ETH-USD", "SOL-USD")


@contextmanager
def watching(url: str) -> Iterator[Watcher]:
    """Yield a watcher of a daemon whose client does not retry."""
    with Client(url, retries=Retries(attempts=1)) as client:
        yield Watcher(client, url)


@pytest.fixture
def open_watchers() -> Iterator[ExitStack]:
    """Yield a stack that closes the watchers of a test."""
    with ExitStack() as stack:
        yield stack


async def test_once(recording: Path, tmp_path: Path) -> None:
    """`--once` prints every symbol with the numbers of /latest, and ends."""
    async with running("--path", str(recording), "--speed", "max", cwd=tmp_path) as daemon:

        async def judged() -> bool:
            return bool((await daemon.get("/quality"))["scores"])

        await eventually(judged, 60, "forecasts have matured")
        code, out, err = await command(
            *("top", "--once", "--url", daemon.url, "--sort", "price"),
            env={"COLUMNS": "200"},
            cwd=tmp_path,
        )
        assert code == 0, err
        assert [line.split()[0] for line in out.splitlines() if "-USD" in line] == [
            *("BTC-USD", "ETH-USD", "SOL-USD")
        ]
        for words in ("ml-2 serves", "QLIKE", "freshness", "accepted", "▁"):
            assert words in out, words
        code, out, _ = await command(
            *("top", "--once", "--url", daemon.url, "--symbols", "ETH-USD"), cwd=tmp_path
        )
        assert code == 0
        assert "BTC-USD" not in out


async def test_numbers_stay_without_the_daemon(tmp_path: Path, open_watchers: ExitStack) -> None:
    """While the daemon does not answer, the view keeps the numbers and shows for how long."""
    async with running(cwd=tmp_path) as daemon:
        watcher = open_watchers.enter_context(watching(daemon.url))

        async def has_every_symbol() -> bool:
            assert await asyncio.to_thread(watcher.poll, 0.0)
            return len(watcher.snapshot.latest) == len(SYMBOLS)

        await eventually(has_every_symbol, 20, "three symbols")
        await daemon.stop(signal.SIGKILL)
        assert not await asyncio.to_thread(watcher.poll, 5.0)
        assert not await asyncio.to_thread(watcher.poll, 95.0)
    console = Console(width=200, file=io.StringIO())
    console.print(render(watcher.snapshot, ViewOptions()))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "no connection for 1 min" in text
    assert all(symbol in text for symbol in SYMBOLS)


async def test_a_failing_daemon_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_watchers: ExitStack
) -> None:
    """A failing health check does not count as a lost connection."""
    monkeypatch.chdir(tmp_path)
    async with serving() as (client, daemon):
        daemon.services.health.report("consumer", "fail", "out of order")
        watcher = open_watchers.enter_context(watching(str(client._base_url)))
        assert await asyncio.to_thread(watcher.poll, 0.0)
        assert watcher.snapshot.lost_s is None
        assert watcher.snapshot.health["status"] == "fail"


def read_out(terminal: int) -> None:
    """Read from a terminal until its other side is closed."""
    with suppress(OSError):
        while os.read(terminal, 65_536):
            pass


async def test_the_screen(tmp_path: Path) -> None:
    """In a terminal the view is redrawn until Ctrl-C, which ends with exit code 0."""
    async with running(cwd=tmp_path) as daemon:
        main, side = os.openpty()
        fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 160, 0, 0))
        top = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "volsvc", "top", "--url", daemon.url, "--every", "0.2"),
            env={**os.environ, "TERM": "xterm"},
            cwd=tmp_path,
            stdout=side,
            # A shell starts background jobs with SIGINT ignored, and children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        os.close(side)
        shown = b""

        async def drawn() -> bool:
            nonlocal shown
            shown += await asyncio.to_thread(os.read, main, 65_536)
            return all(shown.count(symbol.encode()) > 1 for symbol in SYMBOLS)

        await eventually(drawn, 20, "every symbol, twice")
        # Read on as a terminal does: a process that writes to a full one would block.
        reading = asyncio.create_task(asyncio.to_thread(read_out, main))
        top.send_signal(signal.SIGINT)
        try:
            async with asyncio.timeout(10):
                assert await top.wait() == 0
        finally:
            if top.returncode is None:
                top.kill()
            await reading
        os.close(main)


async def test_mistakes(tmp_path: Path) -> None:
    """A mistake is one line with the reason."""
    for arguments, code, fault in (
        (("--sort", "colour"), 2, "--sort: 'colour'"),
        (("--once", "--url", "http://127.0.0.1:1"), 1, "http://127.0.0.1:1"),
        (("--once", "--url", "ftp://x"), 2, "--url"),
        (("--once", "--key-file", "none"), 2, "--key-file"),
    ):
        found, out, err = await command("top", *arguments, cwd=tmp_path)
        assert (found, out) == (code, ""), err
        (line,) = err.strip().splitlines()
        assert fault in line
