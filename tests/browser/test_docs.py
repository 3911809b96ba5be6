"""The docs page in a real browser that reaches nobody but the service."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from volsvc.app import Daemon
from volsvc.config import load_settings
from volsvc.web.openapi import ROUTES

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
OPTIONS = (
    *("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-sandbox"),
)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A daemon in a thread."""
    given: dict[str, dict[str, Any]] = {
        "service": {"data_dir": str(tmp_path_factory.mktemp("var"))},
        "source": {"kind": "none"},
        "model": {"variant": "baseline"},
        "http": {"port": 0},
    }
    daemon, bound, loop = (
        Daemon(load_settings(None, given)),
        threading.Event(),
        asyncio.new_event_loop(),
    )
    stop, urls = asyncio.Event(), list[str]()

    def ready(url: str) -> None:
        urls.append(url)
        bound.set()

    thread = threading.Thread(target=lambda: loop.run_until_complete(daemon.run(stop, ready)))
    thread.start()
    assert bound.wait(30)
    yield urls[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(20)
    loop.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, without a profile."""
    assert CHROMIUM is not None, "apt-get install chromium"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=list(OPTIONS))
        yield chromium
        chromium.close()


def test_the_page_works_offline(address: str, browser: Browser) -> None:
    """Every route is listed and can be tried; no request leaves, the policy blocks nothing."""
    page = browser.new_page()
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(address + "/docs")
    operations = page.locator(".opblock")
    expect(operations).to_have_count(len(ROUTES), timeout=20_000)
    predict = page.locator("#operations-default-post_predict")
    predict.locator("button.opblock-summary-control").click()
    predict.get_by_role("button", name="Try it out").click()
    predict.get_by_role("button", name="Execute").click()
    expect(predict.locator(".live-responses-table .response-col_status").last).to_contain_text(
        "200"
    )
    assert all(url.startswith((address, "data:", "blob:")) for url in asked), asked
    blocked = [
        text for text in complaints if "Content Security Policy" in text or "Refused" in text
    ]
    assert not blocked, blocked
    page.close()


def test_screenshots_are_possible(address: str, browser: Browser, tmp_path: Path) -> None:
    """What the page shows is more than a blank."""
    page = browser.new_page()
    page.goto(address + "/docs")
    expect(page.locator(".opblock").first).to_be_visible(timeout=20_000)
    shot = tmp_path / "docs.png"
    page.screenshot(path=str(shot), full_page=True)
    assert shot.stat().st_size > 20_000
    page.close()
