"""Tests of the live page's files, without a browser."""

from __future__ import annotations

import re
from pathlib import Path

import aiohttp

from tests.web.conftest import in_its_loop
from volsvc.monitoring.spec import read_spec
from volsvc.web.routes.pages import STATIC

PAGE = STATIC / "page"
MOST_BYTES = 150_000
SLO = Path(__file__).parents[2] / "deploy" / "slo.yaml"


def links_of(text: str) -> set[str]:
    """Return the files that a page, a style sheet or a module refers to."""
    found = re.findall(r'(?:src|href)="([^"#]+)"', text)
    found += [f"/assets/{name}" for name in re.findall(r'from "\./([\w.]+)"', text)]
    return set(found)


@in_its_loop
async def test_it_is_whole_and_small(service: aiohttp.ClientSession) -> None:
    """Every file is served and used, and together they are below 150 kB compressed."""
    links, sizes, todo = set[str](), dict[str, int](), {"/"}
    async with aiohttp.ClientSession(service._base_url, auto_decompress=False) as client:
        while todo:
            path = todo.pop()
            headers = {"Accept-Encoding": "gzip"}
            async with client.get(path, headers=headers) as response:
                assert response.status == 200, path
                sizes[path] = len(await response.read())
            if path == "/" or path.startswith("/assets/"):
                name = "index.html" if path == "/" else path.removeprefix("/assets/")
                links = links_of((PAGE / name).read_text())
                todo |= {link for link in links if link.startswith("/assets/")} - set(sizes)
                assert all(link.startswith("/") for link in links), links
    assert sum(sizes.values()) < MOST_BYTES, sizes
    used = {path.removeprefix("/assets/") for path in sizes} - {"/"}
    assert used == {path.name for path in PAGE.iterdir()} - {"index.html"}


def test_it_names_no_other_place() -> None:
    """No file contains an address of another host, an inline handler or an inline style."""
    for path in PAGE.iterdir():
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(
            r"https?://|//[a-z]+\.[a-z]|\son\w+=|\sstyle=|eval\(|innerHTML", text
        ), path.name


def test_objectives_are_those_of_the_service() -> None:
    """The page's objectives equal those of deploy/slo.yaml, by name and number."""
    text = (PAGE / "objectives.js").read_text()
    shown = re.findall(r'name: "([\w-]+)", objective: ([\d.]+)', text)
    promised = [(o.name, o.objective) for o in read_spec(SLO).objectives]
    assert [(name, float(number)) for name, number in shown] == promised
