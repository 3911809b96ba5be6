"""Fixtures: Chromium, and a daemon that has replayed a recording."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.served import Served, ServedHere, in_thread
from tests.daemon import metric_sum
from tests.made import generated
from tests.needs import chromium
from tests.waiting import until

# As long as a busy machine may take; what is slow by itself is seen by benchmarks.
expect.set_options(timeout=120_000)

OPTIONS = (
    *("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-sandbox"),
)


# For a module: while the driver runs, its event loop is that of the thread, and no asynchronous
# test of another module could run in this process.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, without a profile."""
    program = chromium()
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program, args=list(OPTIONS))
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def recording() -> Path:
    """Forty minutes of three generated markets: enough for meaningful scores."""
    return generated("ticks.ndjson.gz", ("BTC-USD", "ETH-USD", "SOL-USD"), minutes=40, seed=11)


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory, recording: Path) -> Iterator[ServedHere]:
    """A daemon that has replayed a recording of three markets and is now idle."""
    settings = {"source": {"path": str(recording)}, "replay": {"speed": "max"}}
    with in_thread(tmp_path_factory.mktemp("var"), settings) as served:
        until_replayed(served, recording)
        yield served


def until_replayed(served: Served, recording: Path) -> None:
    """Wait until a daemon has replayed the whole of a recording."""
    with gzip.open(recording) as file:
        rows = sum(1 for _ in file)
    until(lambda: _replayed(served) == rows, 60, "the recording is replayed")


def _replayed(served: Served) -> float:
    return metric_sum(served.text("/metrics?name[]=volsvc_ticks_total"), "volsvc_ticks_total")


class Watched:
    """A page, its requests, and its errors."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.asked: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda message: self._heard(message.type, message.text))

    def _heard(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Watched]]:
    """A function that opens an address in a new profile; keywords are those of `new_context`."""
    contexts = []

    def open_one(url: str, **options: Any) -> Watched:
        options = {"viewport": {"width": 1440, "height": 900}, **options}
        context = browser.new_context(**options)
        contexts.append(context)
        watched = Watched(context.new_page())
        watched.page.goto(url)
        return watched

    yield open_one
    for context in contexts:
        context.close()
