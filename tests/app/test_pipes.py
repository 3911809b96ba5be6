"""Commands that read a recording from a pipe, as a user runs them."""

from __future__ import annotations

import asyncio
import gzip
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from tests.daemon import clean_environment, command, eventually, running
from tests.made import features

ROW = "2026-01-05T14:00:{:02d}Z,BTC-USD,{}\n"


@contextmanager
def cat(path: Path) -> Iterator[IO[bytes]]:
    """Return a pipe with the bytes of a file."""
    with subprocess.Popen(("cat", str(path)), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield process.stdout


async def test_features_and_digests_of_a_pipe(minutes: Path, tmp_path: Path) -> None:
    """They are those of the file, compressed as it is; digests take a second pass."""
    rows, digests = features(minutes, "csv")
    packed = tmp_path / "ticks.ndjson.gz"
    packed.write_bytes(gzip.compress(minutes.read_bytes()))
    with cat(packed) as pipe:
        code, _, err = await command("features", "-", "--out", "f.csv", cwd=tmp_path, stdin=pipe)
    assert code == 0, err
    assert (tmp_path / "f.csv").read_bytes() == rows.read_bytes()
    out = ("--out", "g.csv", "--digests", "d.ndjson")
    with cat(packed) as pipe:
        code, _, err = await command("features", "-", *out, cwd=tmp_path, stdin=pipe)
    assert code == 0, err
    assert (tmp_path / "d.ndjson").read_bytes() == digests.read_bytes()


async def test_forecasts_of_a_pipe(minutes: Path, tmp_path: Path) -> None:
    """A reader that looks into its data twice gets a copy of them."""
    arguments = ("--out", "f.csv", "--every", "30")
    code, _, err = await command("forecast", "--data", str(minutes), *arguments, cwd=tmp_path)
    assert code == 0, err
    expected = (tmp_path / "f.csv").read_bytes()
    with cat(minutes) as pipe:
        code, _, err = await command(
            "forecast", "--data", "-", *arguments, cwd=tmp_path, stdin=pipe
        )
    assert code == 0, err
    assert (tmp_path / "f.csv").read_bytes() == expected


async def test_the_shell_makes_pipes(minutes: Path, tmp_path: Path) -> None:
    """Process substitution is a recording like any other."""
    program = f"exec '{sys.executable}' -m volsvc features <(gzip -c '{minutes}') --out f.csv"
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", program), cwd=tmp_path, env=clean_environment(), stderr=subprocess.PIPE
    )
    async with asyncio.timeout(120):
        _, err = await process.communicate()
    assert process.returncode == 0, err
    assert (tmp_path / "f.csv").read_bytes() == features(minutes, "csv")[0].read_bytes()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_named_pipe_to_which_nobody_writes(number: int, tmp_path: Path) -> None:
    """The daemon is ready, and stops at once."""
    os.mkfifo(tmp_path / "ticks")
    async with running("--path", "ticks", cwd=tmp_path) as daemon:
        assert (await daemon.get("/health"))["status"] == "ok"
        assert await daemon.stop(number, within_s=1) == 0


async def test_ticks_are_served_as_they_are_written(tmp_path: Path) -> None:
    """Each tick is processed while the writer still holds the pipe; its end ends the source."""
    os.mkfifo(tmp_path / "ticks")
    async with running("--path", "ticks", "--speed", "max", cwd=tmp_path) as daemon:
        with (tmp_path / "ticks").open("w", buffering=1) as pipe:
            pipe.write("time,symbol,price\n")
            for count in range(1, 4):
                pipe.write(ROW.format(count, 100 + count / 10))

                async def processed(count: int = count) -> bool:
                    return await daemon.metric("volsvc_ticks_total") == count

                await eventually(processed, 10, f"{count} ticks")
            assert "source_ended" not in daemon.log

        async def ended() -> bool:
            return "source_ended" in daemon.log

        await eventually(ended, 10, "the end of the source")
        assert (await daemon.get("/latest/BTC-USD"))["price"] == 100.3
        assert await daemon.stop() == 0


async def test_a_pipe_that_cannot_be_used(tmp_path: Path) -> None:
    """A loop is a mistake of the settings; a pipe without ticks ends the daemon with the reason."""
    (tmp_path / "empty").touch()
    env = {"VOLSVC_SOURCE__LOOP": "true"}
    run = ("run", "--path", "-", "--port", "0")
    with cat(tmp_path / "empty") as pipe:
        code, _, err = await command(*run, env=env, cwd=tmp_path, stdin=pipe)
    assert code == 2
    assert "source.loop" in err
    with cat(tmp_path / "empty") as pipe:
        code, _, err = await command(*run, cwd=tmp_path, stdin=pipe)
    assert code == 1
    assert "standard input: is empty" in err.splitlines()[-1]
