"""One daemon owns service.data_dir; a second one says so, and readers need no lock."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.daemon import command, running

QUIET = {"VOLSVC_SOURCE__KIND": "none", "MODEL_VARIANT": "baseline"}


async def test_a_second_daemon_leaves_the_folder_alone(tmp_path: Path) -> None:
    """It ends at once and names the owner; history can be read by route and by command."""
    async with running(env=QUIET, cwd=tmp_path) as daemon:
        code, out, err = await command("run", "--port", "0", env=QUIET, cwd=tmp_path)
        assert (code, out) == (1, "")
        (line,) = [line for line in err.splitlines() if "service.data_dir" in line]
        assert f"process {daemon.process.pid} is running on it" in line
        assert "VOLSVC_SERVICE__DATA_DIR" in line
        entries = (await daemon.get("/models/history"))["entries"]
        assert [entry["kind"] for entry in entries] == ["start"]
        code, out, err = await command("models", "history", "--verify", cwd=tmp_path)
        assert (code, out) == (0, "the audit log is intact: entries 1 to 1\n"), err
        other = {**QUIET, "VOLSVC_SERVICE__DATA_DIR": "other"}
        async with running(env=other, cwd=tmp_path) as second:
            assert await second.status("/models/history") == 200
        await daemon.stop(signal.SIGKILL)
    async with running(env=QUIET, cwd=tmp_path) as daemon:
        entries = (await daemon.get("/models/history"))["entries"]
        assert [entry["kind"] for entry in entries] == ["start", "start"]
        assert await daemon.stop() == 0


async def test_damage_that_a_reader_finds_shows_in_health(tmp_path: Path) -> None:
    """The answer is a problem, and the check `journal` is degraded with the place."""
    async with running(env=QUIET, cwd=tmp_path) as daemon:
        log = tmp_path / "var" / "journal" / "models.jsonl"
        log.write_bytes(log.read_bytes().replace(b"baseline", b"Baseline"))
        assert (await daemon.get("/models/history"))["type"] == "/problems/journal-broken"
        check = (await daemon.get("/health"))["checks"]["journal"]
        assert (check["status"], "line 1: was changed" in check["detail"]) == ("degraded", True)
        assert await daemon.stop() == 0
