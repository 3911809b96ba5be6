"""Pictures of the live page for the docs: `make screenshots`.

A daemon replays ninety minutes of generated markets in as many seconds; then the page is looked at
in light, in dark, and on a phone. Another one is on the generator, whose markets have a past.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser.conftest import OPTIONS
from tests.browser.served import Served, in_process
from tests.needs import chromium
from tests.waiting import until
from volsvc.commands.files import generate_file

OUT = Path(__file__).parents[2] / "docs" / "images"
NAMES = ("BTC", "ETH", "SOL", "XRP", "ADA", "DOGE", "LTC", "LINK")
SYMBOLS = tuple(f"{name}-USD" for name in NAMES)
SPEED = 60
MINUTES = 90
# Seconds before the end at which the page is opened, so that it has received some minutes.
BEFORE_S = 5.0
MOST_BYTES = 250_000
DESKTOP = {"viewport": {"width": 1440, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True}
LOOKS: dict[str, dict[str, Any]] = {
    "light": {**DESKTOP, "color_scheme": "light"},
    "dark": {**DESKTOP, "color_scheme": "dark"},
    "phone": {**PHONE, "color_scheme": "light"},
}
# Of the past: the address, and an element that shows once it has come.
PAST = {
    "week": ("#BTC-USD?horizon=3600", "#change:has-text('in 7 d')"),
    "track-record": ("#BTC-USD?horizon=3600&tab=track", "#track-total dd >> nth=1"),
}


def main() -> None:
    """Write docs/images/page-{light,dark,phone,week,track-record}.png."""
    OUT.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp())
    recording = folder / "ticks.ndjson.gz"
    generate_file(
        recording, minutes=2 * MINUTES, seed=5, symbols=SYMBOLS, start="2026-11-24T13:00:00Z"
    )
    arguments = ("--port", "0", "--path", str(recording), "--speed", str(SPEED))
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium(), args=list(OPTIONS))
            (folder / "past").mkdir()
            with in_process(folder / "past", "--port", "0", env={}) as served:
                for name, (address, sign) in PAST.items():
                    _take_past(browser, served, name, address, sign)
            with in_process(folder, *arguments, env={}) as served:
                _live_through(served)
                for name, options in LOOKS.items():
                    _take(browser, served, name, options)
            browser.close()
    finally:
        shutil.rmtree(folder)


def _live_through(served: Served) -> None:
    """Replay most of the recording, with requests, and two swaps near its end."""
    until(lambda: len(served.ask("/latest")["symbols"]) == len(SYMBOLS), 30, "all symbols")
    ends = time.monotonic() + MINUTES * 60 / SPEED - BEFORE_S
    while time.monotonic() < ends:
        served.ask("/predict", "POST", {"rows": [{"ret_mean": 0, "ret_std": 3e-5, "n": 49}]})
        time.sleep(0.1)
    served.ask("/models/active", "PUT", {"variant": "baseline"})
    # Keeps the marks of the two swaps apart.
    time.sleep(1.5)
    served.ask("/models/active", "PUT", {"variant": "ml"})


def _take(browser: Browser, served: Served, name: str, options: dict[str, Any]) -> None:
    context = browser.new_context(**options)
    page = context.new_page()
    page.goto(f"{served.url}/#BTC-USD")
    expect(page.locator("#record tbody tr").first).to_be_visible(timeout=20_000)
    until(
        lambda: page.locator("#feed dd").first.inner_text() not in ("", "\N{EN DASH}"),
        10,
        "a rate of ticks",
    )
    _write(name, page.screenshot(full_page=name != "phone"))
    context.close()


def _take_past(browser: Browser, served: Served, name: str, address: str, sign: str) -> None:
    page = browser.new_page(viewport={"width": 1440, "height": 1100}, color_scheme="light")
    page.goto(f"{served.url}/{address}")
    expect(page.locator(sign)).to_be_visible(timeout=20_000)
    _write(name, page.locator(".charts").screenshot())
    page.close()


def _write(name: str, shot: bytes) -> None:
    out = OUT / f"page-{name}.png"
    # A palette is enough for a page of few colours, and a third of the size.
    picture = Image.open(BytesIO(shot)).convert("RGB")
    method, dither = Image.Quantize.MAXCOVERAGE, Image.Dither.NONE
    picture.quantize(256, method=method, dither=dither).save(out, optimize=True)
    size = out.stat().st_size
    print(f"{out.relative_to(OUT.parents[1])}: {size:,} bytes")
    assert size < MOST_BYTES, f"{out} is larger than {MOST_BYTES} bytes"


if __name__ == "__main__":
    main()
