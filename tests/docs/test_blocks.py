"""Every code block of README and docs is run, read as what it is, or marked as not run.

JSON and HTTP are in test_documents.py, YAML is in test_yaml_files.py.
"""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.docs.blocks import LANGUAGES, NOT_HERE, Block, every_block, indented, of, pages
from tests.docs.recipes import BIN
from tests.docs.shell import Stage, commands
from volsvc.config.http import KeyFile
from volsvc.config.settings import load_settings
from volsvc.simulator.script import Script

BLOCKS = every_block()


def test_every_block_says_what_it_is() -> None:
    """Each block is fenced, has a known language, and states its requirement if it is not run."""
    assert {b.place for b in BLOCKS if b.language not in LANGUAGES} == set()
    assert {b.place: b.not_run for b in BLOCKS if b.not_run and b.not_run not in NOT_HERE} == {}
    loose = {f"{page.name}:{line}" for page in pages() for line in indented(page)}
    assert loose == set(), "write these as fenced blocks with a language"


# topics.md first: it compares with forecasts from before other pages change the model.
RUN = sorted(of("sh", "python"), key=lambda case: case.values[0].path.name != "topics.md")


@pytest.mark.long
@pytest.mark.parametrize("block", RUN)
def test_commands_and_programs_do_what_they_say(block: Block, stage: Stage) -> None:
    """Each command of the block, or the program, succeeds, in the order of the page."""
    if block.language == "python":
        stage.call("python", "-c", stage.with_addresses(block.text))
        return
    for command in commands(block.text):
        stage.run(command)


@pytest.mark.long
def test_what_is_not_run_is_a_command_of_ours() -> None:
    """Commands of volsvc in blocks that are not run have valid options."""
    left_out = [block for block in BLOCKS if block.language == "sh" and block.not_run]
    lines = [line for block in left_out for line in commands(block.text)]
    ours = [line.split()[1:] for line in lines if line.startswith("volsvc ")]
    assert ours
    for words in ours:
        done = subprocess.run([BIN / "volsvc", *words, "--help"], capture_output=True, text=True)
        assert done.returncode == 0, f"{words}\n{done.stderr}"


def read_toml(block: Block, folder: Path) -> None:
    """Read a TOML block with the model of its kind: configuration, keys or faults."""
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
