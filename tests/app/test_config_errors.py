"""Errors of the configuration, as a user sees them."""

from pathlib import Path

import pytest

from tests.daemon import command

MISTAKES = {
    "[replay]\nsped = 1": "replay.sped: unknown key; did you mean replay.speed?",
    "[replay]\nspeed = 'fast'": "replay.speed = 'fast': must be a number above 0",
    "[http]\nport = 'x'": "http.port = 'x'",
    "[http]\nhost = '0.0.0.0'": "http.host = '0.0.0.0': is not a loopback address",
    "[features]\nwindow_size = 1": "features.window_size = 1",
    "replay = ": "is not valid TOML",
    "[service]\nroles = ['producer']": "bus.transport = 'memory'",
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
