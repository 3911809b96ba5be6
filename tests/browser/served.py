"""Daemons for pages: one in a thread of this process, and one that can be killed.

The browser's driver is synchronous here, so these are too.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from volsvc.config.settings import load_settings
from volsvc.daemon.daemon import Daemon

READY_S = 30.0


class Served:
    """A running daemon's address, and requests to it."""

    def __init__(self, url: str, key: str = "") -> None:
        self.url = url.rstrip("/")
        self.key = key

    def ask(self, path: str, method: str = "GET", body: Any = None) -> Any:
        """Return the JSON answer to a request; raises HTTPError if it was refused."""
        return json.loads(self.text(path, method, body))

    def text(self, path: str, method: str = "GET", body: Any = None) -> str:
        """Return the answer as text."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as response:
            answer: bytes = response.read()
        return answer.decode()


class ServedHere(Served):
    """A daemon in a thread of this process."""

    def __init__(self, url: str, key: str, daemon: Daemon, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(url, key)
        self.daemon = daemon
        self._loop = loop

    def call(self, work: Callable[[], None]) -> None:
        """Call a function in the daemon's event loop."""
        self._loop.call_soon_threadsafe(work)


@contextmanager
def in_thread(
    data_dir: Path, settings: Mapping[str, Mapping[str, Any]], key: str = ""
) -> Iterator[ServedHere]:
    """Run a daemon in a thread, with these settings and a folder of its own."""
    given = {
        **settings,
        "service": {"data_dir": str(data_dir)},
        "model": {"import_packaged": False, **settings.get("model", {})},
        "http": {"port": 0, **settings.get("http", {})},
    }
    daemon, loop, bound = Daemon(load_settings(None, given)), asyncio.new_event_loop(), []
    stop, ready = asyncio.Event(), threading.Event()

    def on_ready(url: str) -> None:
        bound.append(url)
        ready.set()

    thread = threading.Thread(target=lambda: loop.run_until_complete(daemon.run(stop, on_ready)))
    thread.start()
    assert ready.wait(READY_S)
    try:
        yield ServedHere(bound[0], key, daemon, loop)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        loop.close()


@contextmanager
def in_process(folder: Path, *arguments: str, env: Mapping[str, str]) -> Iterator[Served]:
    """Run a daemon as a user starts it; it is killed at the end."""
    ours = ("VOLSVC_", "KAFKA_", "MLFLOW_")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    process = subprocess.Popen(
        [sys.executable, "-m", "volsvc", "run", *arguments],
        env={**clean, "VOLSVC_MODEL__IMPORT_PACKAGED": "false", **env},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "ready at" in line, line
        yield Served(line.split("ready at ")[1].strip())
    finally:
        process.kill()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()
