"""A registry whose answers are without measure neither ends the daemon nor holds it up."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.client.scripted import Reply, scripted
from tests.daemon import command, eventually, running

DEEP = b'{"registered_model": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
LONG = b'{"registered_model": {"aliases": [], "more": "' + b"x" * 5_000_000 + b'"}}'


@pytest.mark.parametrize("body", [DEEP, LONG], ids=["deep", "long"])
async def test_answers_without_measure(body: bytes, tmp_path: Path) -> None:
    """The daemon serves on and says what is wrong; commands end with one line."""
    async with scripted(Reply(body=body)) as script:
        env = {
            "MLFLOW_TRACKING_URI": script.url,
            "VOLSVC_MODEL__POLL_S": "0.2",
            "VOLSVC_SOURCE__KIND": "none",
        }
        async with running(env=env, cwd=tmp_path) as daemon:

            async def told() -> bool:
                check = (await daemon.get("/health"))["checks"].get("registry:poll", {})
                return check.get("status") == "degraded" and "not MLflow's" in check["detail"]

            await eventually(told, 20, "health tells of the registry")
            assert (await daemon.get("/version"))["model"].startswith("ml-")
            assert await daemon.stop() == 0
        code, _, err = await command("models", "list", env=env, cwd=tmp_path)
        assert (code, err.count("\n")) == (1, 1), err
        assert "not MLflow's" in err
