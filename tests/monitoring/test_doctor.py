"""`volsvc doctor` finds each fault, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.client.scripted import Reply, scripted
from tests.daemon import command, running
from tests.kafka.broker import free_port


async def test_a_healthy_service_has_no_fault(tmp_path: Path) -> None:
    """With a running daemon every part is checked, and the exit code is 0."""
    async with running(cwd=tmp_path) as daemon:
        code, out, error = await command("doctor", "--url", daemon.url, cwd=tmp_path)
    assert (code, error) == (0, "")
    for part in (
        "config",
        "disk",
        "store",
        "model",
        "drift",
        "broker",
        "registry",
        "clock",
        "scrape",
    ):
        assert f" {part}: " in out
    assert "fail" not in out


async def test_each_fault_is_named_with_its_remedy(tmp_path: Path) -> None:
    """A missing broker, reference or service is a finding with its remedy."""
    env = {
        "VOLSVC_BUS__TRANSPORT": "kafka",
        "VOLSVC_KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}",
        "VOLSVC_DRIFT__REFERENCE": "none.npz",
        "VOLSVC_HTTP__PORT": str(free_port()),
    }
    code, out, _ = await command("doctor", env=env, cwd=tmp_path)
    assert code == 1
    assert "fail  broker: 127.0.0.1:" in out
    assert "kafka.bootstrap_servers" in out
    assert "fail  drift: none.npz" in out
    assert "warn  service: nothing answers" in out


async def test_a_store_that_is_none_is_a_fault(tmp_path: Path) -> None:
    """A file that cannot be opened is found before the service is started."""
    (tmp_path / "volsvc.db").write_bytes(b"no database" * 999)
    env = {"VOLSVC_SERVICE__DATA_DIR": str(tmp_path), "VOLSVC_HTTP__PORT": str(free_port())}
    code, out, _ = await command("doctor", env=env, cwd=tmp_path)
    assert code == 1
    assert "fail  store: " in out
    assert "file is not a database" in out


async def test_a_broken_config_is_the_first_fault(tmp_path: Path) -> None:
    """With invalid settings nothing else is checked."""
    (tmp_path / "config.toml").write_text("[http]\nporrt = 1\n")
    code, out, _ = await command("doctor", "--config", "config.toml", cwd=tmp_path)
    assert code == 1
    assert out.startswith("fail  config: http.porrt: unknown key")
    assert out.count("\n") == 2


@pytest.mark.parametrize(
    "body",
    [b"[" * 100_000, b'{"checks": []}', b'{"checks": {"a": 1}}'],
    ids=["deep", "list", "number"],
)
async def test_another_program_at_the_address_is_a_finding(body: bytes, tmp_path: Path) -> None:
    """Whatever it answers."""
    async with scripted(Reply(body=body)) as script:
        code, out, error = await command("doctor", "--url", script.url, cwd=tmp_path)
    assert (code, error) == (1, "")
    assert "fail  service: the answer is not one of volsvc" in out
