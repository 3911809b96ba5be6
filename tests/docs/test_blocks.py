"""Every code block of README and docs is run, parsed by its reader, or marked as not run."""

from __future__ import annotations

import json
import tomllib
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.blocks import LANGUAGES, NOT_HERE, Block, every_block, indented, pages
from tests.docs.shell import Stage, commands
from volsvc.config.http import KeyFile
from volsvc.config.settings import load_settings
from volsvc.simulator.script import Script
from volsvc.transport.bus import Record
from volsvc.transport.codec import decode_tick

pytestmark = pytest.mark.timeout(180)

# topics.md first: it compares with forecasts from before other pages change the model.
BLOCKS = sorted(every_block(), key=lambda block: block.path.name != "topics.md")
RUN = [block for block in BLOCKS if not block.not_run]


def of(language: str) -> list[Any]:
    """Return the unmarked blocks of a language as test cases."""
    return [pytest.param(b, id=b.place) for b in RUN if b.language == language]


def test_every_block_says_what_it_is() -> None:
    """Each block is fenced, has a known language, and states its requirement if it is not run."""
    assert {b.place for b in BLOCKS if b.language not in LANGUAGES} == set()
    assert {b.place: b.not_run for b in BLOCKS if b.not_run and b.not_run not in NOT_HERE} == {}
    loose = {f"{page.name}:{line}" for page in pages() for line in indented(page)}
    assert loose == set(), "write these as fenced blocks with a language"


@pytest.mark.parametrize("block", [*of("sh"), *of("python")])
def test_commands_and_programs_do_what_they_say(block: Block, stage: Stage) -> None:
    """Each command of the block, or the program, succeeds, in the order of the page."""
    if block.language == "python":
        stage.call("python", "-c", stage.with_addresses(block.text))
        return
    for command in commands(block.text):
        stage.run(command)


def read_toml(block: Block, folder: Path) -> None:
    """Return the kind of a TOML block: configuration, keys or faults."""
    tables = tomllib.loads(block.text)
    if "keys" in tables:
        KeyFile.model_validate(tables)
    elif "fault" in tables:
        Script.model_validate(tables)
    else:
        path = folder / "config.toml"
        path.write_text(block.text)
        load_settings(path)


@pytest.mark.parametrize("block", of("toml"))
def test_settings_are_taken(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The block is valid by the model of its kind of file."""
    monkeypatch.chdir(tmp_path)
    read_toml(block, tmp_path)


def posted(url: str, document: Any) -> int:
    """Return the status of a POST /predict."""
    body = json.dumps(document).encode()
    request = urllib.request.Request(f"{url}/predict", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:
        return int(response.status)


@pytest.mark.parametrize("block", of("json"))
def test_documents_are_taken(block: Block, stage: Stage) -> None:
    """A request gets its answer, a tick is decoded, and everything else is JSON."""
    document = json.loads(block.text)
    if "rows" in document:
        assert posted(stage.service, document) == 200
    elif set(document) >= {"symbol", "time", "price", "source"}:
        record = Record("ticks.raw", 0, 0, b"BTC-USD", block.text.encode(), (), 0)
        assert decode_tick(record).symbol == document["symbol"]


def is_yaml(text: str) -> bool:
    return yaml.safe_load(text) is not None


def is_headers(text: str) -> bool:
    return all(": " in line for line in text.splitlines())


READERS: Mapping[str, Callable[[str], bool]] = {"yaml": is_yaml, "http": is_headers}


@pytest.mark.parametrize("block", [*of("yaml"), *of("http")])
def test_other_blocks_are_read(block: Block) -> None:
    """A YAML block is valid YAML, and an HTTP block has valid headers."""
    assert READERS[block.language](block.text)
