"""A film of the live page in a real browser: a picture every half second, four times as fast."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from playwright.async_api import Page, async_playwright

from tests.needs import chromium

OPTIONS: Final = (
    *("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-sandbox"),
)
WIDTH, HEIGHT = 1280, 800
EVERY_S: Final = 0.5
PICTURES_PER_S: Final = 8
CAPTION: Final = """text => {
  let bar = document.getElementById("demo-caption");
  if (!bar) {
    bar = document.createElement("div");
    bar.id = "demo-caption";
    Object.assign(bar.style, {position: "fixed", left: "0", right: "0", bottom: "0", zIndex: "9999",
      padding: "10px 24px", font: "600 18px system-ui, sans-serif", color: "#fff",
      background: "rgba(20, 24, 32, .92)"});
    document.body.append(bar);
  }
  bar.textContent = text;
}"""


class Film:
    """Pictures of a page in a folder, with a caption about the current act."""

    def __init__(self, page: Page, folder: Path) -> None:
        self._page = page
        self._folder = folder
        self._count = 0

    async def caption(self, text: str) -> None:
        """Set the caption at the foot of the page."""
        await self._page.evaluate(CAPTION, text)

    async def open(self, url: str) -> None:
        """Film another page from now on."""
        await self._page.goto(url)
        await self._page.reload()

    async def roll(self) -> None:
        """Take pictures until cancelled."""
        clock = asyncio.get_running_loop().time
        due = clock()
        while True:
            path = self._folder / f"{self._count:05}.jpg"
            await self._page.screenshot(path=path, type="jpeg", quality=85)
            self._count += 1
            due = max(due + EVERY_S, clock())
            await asyncio.sleep(due - clock())

    def develop(self, out: Path) -> None:
        """Make the video."""
        source = ("-framerate", str(PICTURES_PER_S), "-i", str(self._folder / "%05d.jpg"))
        codec = ("-c:v", "libvpx-vp9", "-crf", "42", "-b:v", "0", "-row-mt", "1", "-cpu-used", "4")
        command = ("ffmpeg", "-y", "-loglevel", "error", *source, *codec, "-pix_fmt", "yuv420p")
        subprocess.run((*command, str(out)), check=True, timeout=300)


@asynccontextmanager
async def filming(url: str, folder: Path) -> AsyncIterator[Film]:
    """Film the page at `url` until the block ends."""
    folder.mkdir(exist_ok=True)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=list(OPTIONS))
        page = await browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        film = Film(page, folder)
        await film.open(url)
        camera = asyncio.create_task(film.roll())
        try:
            yield film
        finally:
            camera.cancel()
            await asyncio.wait({camera})
            await browser.close()
