"""The docs page in a real browser that can reach the service only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.served import in_thread
from volsvc.web.openapi.routes import ROUTES


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A daemon in a thread."""
    settings = {"source": {"kind": "none"}, "model": {"variant": "baseline"}}
    with in_thread(tmp_path_factory.mktemp("var"), settings) as served:
        yield served.url


def test_the_page_works_offline(address: str, browser: Browser) -> None:
    """Every route is listed and can be tried; no request leaves, and the policy blocks nothing."""
    page = browser.new_page()
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(address + "/docs")
    operations = page.locator(".opblock")
    expect(operations).to_have_count(len(ROUTES))
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
    """A screenshot of the page is not blank."""
    page = browser.new_page()
    page.goto(address + "/docs")
    expect(page.locator(".opblock").first).to_be_visible(timeout=20_000)
    shot = tmp_path / "docs.png"
    page.screenshot(path=str(shot), full_page=True)
    assert shot.stat().st_size > 20_000
    page.close()
