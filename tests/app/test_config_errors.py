"""Errors of the configuration, as a user sees them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

from tests.daemon import command
from volsvc.cli.main import cli

MISTAKES = {
    "[replay]\nsped = 1": "replay.sped: unknown key; did you mean replay.speed?",
    "[replay]\nspeed = 'fast'": "replay.speed = 'fast': must be a number above 0",
    "[http]\nport = 'x'": "http.port = 'x'",
    "[http]\nhost = '0.0.0.0'": "http.host = '0.0.0.0': is not a loopback address",
    "[features]\nwindow_size = 1": "features.window_size = 1",
    "replay = ": "is not valid TOML",
    "[service]\nroles = ['producer']": "bus.transport = 'memory'",
    "[model]\ntracking_uri = 'http://me:hush@h'": "model.tracking_uri = 'http://(hidden)@h'",
}

DRIFT = ("drift", "--reference", "a.csv", "--current", "a.csv", "--start", "nonsense")


@pytest.mark.parametrize("text", MISTAKES)
async def test_mistake_in_the_file(text: str, tmp_path: Path) -> None:
    """A mistake gives one line that names key and value, and exit code 2."""
    (tmp_path / "config.toml").write_text(text)
    code, out, err = await command("run", "--config", "config.toml", cwd=tmp_path)
    assert (code, out) == (2, "")
    (line,) = err.strip().splitlines()
    assert MISTAKES[text] in line


async def test_missing_file_and_unknown_words(tmp_path: Path) -> None:
    """A missing file, an unknown command and an unknown option are usage errors."""
    for arguments, fault in (
        (("run", "--config", "none.toml"), "none.toml: no such file"),
        (("rn",), "rn"),
        (("run", "--spede", "1"), "--spede"),
        (("run", "--speed", "0"), "replay.speed = '0'"),
        (DRIFT, "--start: 'nonsense"),
    ):
        code, _, err = await command(*arguments, cwd=tmp_path)
        assert code == 2
        assert fault in err
        assert "Traceback" not in err


def decimal_options() -> Iterator[tuple[str, ...]]:
    """Yield the words of each command with each of its options that takes a decimal number."""

    def below(words: tuple[str, ...], command: Any) -> Iterator[tuple[str, ...]]:
        for name, inner in getattr(command, "commands", {}).items():
            yield from below((*words, name), inner)
        for option in command.params:
            if option.type_descriptor.annotation in (float, list[float]):
                yield (*words, option.opts[0])

    return below((), get_command(cli))


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e300"])
@pytest.mark.parametrize("words", list(decimal_options()), ids=" ".join)
def test_a_decimal_number_is_bounded(words: tuple[str, ...], number: str) -> None:
    """No option takes what is no number, or one that no reader means."""
    with pytest.raises(typer.BadParameter, match="should be"):
        cli([*words, number], standalone_mode=False)
