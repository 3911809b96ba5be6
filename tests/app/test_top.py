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
from volsvc.commands.top.view import Wanted, render
from volsvc.commands.top.watcher import Watcher

SYMBOLS = ("BTC-USD", "ETH-USD", "SOL-USD")


@contextmanager
def watching(url: str) -> Iterator[Watcher]:
    """Whoever looks at a daemon, and hears at once that nobody answers."""
    with Client(url, retries=Retries(attempts=1)) as client:
        yield Watcher(client, url)


@pytest.fixture
def looks() -> Iterator[ExitStack]:
    """Closes what a test has opened."""
    with ExitStack() as stack:
        yield stack


async def test_once(recording: Path, tmp_path: Path) -> None:
    """One look prints every symbol with the numbers of /latest, and ends."""
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
        for words in ("ml-1 serves", "QLIKE", "freshness", "taken in", "▁"):
            assert words in out, words
        code, out, _ = await command(
            *("top", "--once", "--url", daemon.url, "--symbols", "ETH-USD"), cwd=tmp_path
        )
        assert code == 0
        assert "BTC-USD" not in out


async def test_it_survives_the_daemon(tmp_path: Path, looks: ExitStack) -> None:
    """While the daemon is gone, the numbers stay and the screen says for how long."""
    async with running(cwd=tmp_path) as daemon:
        watcher = looks.enter_context(watching(daemon.url))

        async def seen() -> bool:
            assert await asyncio.to_thread(watcher.look, 0.0)
            return len(watcher.seen.latest) == len(SYMBOLS)

        await eventually(seen, 20, "three symbols")
        await daemon.stop(signal.SIGKILL)
        assert not await asyncio.to_thread(watcher.look, 5.0)
        assert not await asyncio.to_thread(watcher.look, 95.0)
    console = Console(width=200, file=io.StringIO())
    console.print(render(watcher.seen, Wanted()))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "no connection for 1 min" in text
    assert all(symbol in text for symbol in SYMBOLS)


async def test_a_failing_daemon_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks: ExitStack
) -> None:
    """A daemon that says of itself that it fails is no lost connection."""
    monkeypatch.chdir(tmp_path)
    async with serving() as (client, daemon):
        daemon.health.report("consumer", "fail", "out of order")
        watcher = looks.enter_context(watching(str(client._base_url)))
        assert await asyncio.to_thread(watcher.look, 0.0)
        assert watcher.seen.lost_s is None
        assert watcher.seen.health["status"] == "fail"


def read_out(terminal: int) -> None:
    """Read until nobody is left who could write."""
    with suppress(OSError):
        while os.read(terminal, 65_536):
            pass


async def test_the_screen(tmp_path: Path) -> None:
    """In a terminal it goes on showing the markets until Ctrl-C, which is no failure."""
    async with running(cwd=tmp_path) as daemon:
        main, side = os.openpty()
        fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 160, 0, 0))
        top = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "volsvc", "top", "--url", daemon.url, "--every", "0.2"),
            env={**os.environ, "TERM": "xterm"},
            cwd=tmp_path,
            stdout=side,
            # Who starts the tests in the background has Ctrl-C ignored, and so have its children.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        os.close(side)
        shown = b""

        async def drawn() -> bool:
            nonlocal shown
            shown += await asyncio.to_thread(os.read, main, 65_536)
            return all(shown.count(symbol.encode()) > 1 for symbol in SYMBOLS)

        await eventually(drawn, 20, "every symbol, twice")
        # A terminal goes on reading; who writes to a full one waits.
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
    """What cannot be is one line with the reason."""
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
