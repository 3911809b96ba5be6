"""Access to a daemon as a user runs it: keys made by the command, SIGHUP, TLS, streams."""

from __future__ import annotations

import asyncio
import signal
import ssl
import subprocess
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.daemon import command, eventually, running
from tests.needs import need
from tests.sse import Reader

READ = ("keys", "new", "--scopes", "read", "--file", "keys.toml")


async def make_key(name: str, folder: Path) -> str:
    """Return a new key, as printed by the command."""
    code, out, err = await command(*READ, "--name", name, cwd=folder)
    assert code == 0, err
    return out.splitlines()[0].removeprefix("key: ")


async def status(url: str, key: str, path: str = "/latest") -> int:
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(headers=headers) as client, client.get(url + path) as response:
        return response.status


async def test_rotation_by_hangup(tmp_path: Path) -> None:
    """After SIGHUP a new key is accepted, and a removed one is not."""
    first = await make_key("first", tmp_path)
    file = tmp_path / "keys.toml"
    assert file.stat().st_mode & 0o077 == 0, "only its owner reads it"
    assert first not in file.read_text()
    old = file.read_text()
    env = {"VOLSVC_AUTH__KEYS_FILE": "keys.toml", "VOLSVC_HTTP__HOST": "0.0.0.0"}
    async with running("--source", "none", env=env, cwd=tmp_path) as daemon:
        url = daemon.url.replace("0.0.0.0", "127.0.0.1")
        assert await status(url, first) == 200
        second = await make_key("second", tmp_path)
        assert await status(url, second) == 401

        async def becomes(key: str, wanted: int) -> None:
            async def reached() -> bool:
                return await status(url, key) == wanted

            daemon.process.send_signal(signal.SIGHUP)
            await eventually(reached, 10, f"{wanted} for a key")

        await becomes(second, 200)
        assert await status(url, first) == 200
        file.write_text(file.read_text().removeprefix(old).lstrip())
        await becomes(first, 401)
        assert await status(url, second) == 200
        assert await daemon.stop() == 0
        assert first not in daemon.log
        assert second not in daemon.log


async def test_invalid_requests_for_keys(tmp_path: Path) -> None:
    """Unknown scopes, repeated names, absurd expiries and open addresses end with code 2."""
    await make_key("a", tmp_path)
    for arguments in (
        (*READ, "--name", "a"),
        ("keys", "new", "--scopes", "reed"),
        ("keys", "new", "--scopes", ""),
        *(
            ("keys", "new", "--scopes", "read", "--expires-days", days)
            for days in ("0", "36501", "nan")
        ),
    ):
        code, out, err = await command(*arguments, cwd=tmp_path)
        assert (code, "key:" in out) == (2, False), err
    env = {"VOLSVC_HTTP__HOST": "0.0.0.0"}
    code, _, err = await command("run", "--port", "0", env=env, cwd=tmp_path)
    assert code == 2
    assert "keys" in err


def certificate(folder: Path, name: str) -> dict[str, str]:
    """Return settings of a new self-signed certificate and its key."""
    need("openssl")
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    kind = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1"
    names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1")
    files = ("-keyout", str(key), "-out", str(cert))
    subprocess.run(["openssl", *kind.split(), *names, *files], check=True, capture_output=True)
    return {"VOLSVC_HTTP__CERT_FILE": str(cert), "VOLSVC_HTTP__KEY_FILE": str(key)}


async def test_tls(tmp_path: Path) -> None:
    """With certificate and key the service answers HTTPS only."""
    env = certificate(tmp_path, "ours")
    trust = ssl.create_default_context(cafile=env["VOLSVC_HTTP__CERT_FILE"])
    async with running("--source", "none", env=env, cwd=tmp_path) as daemon:
        assert daemon.url.startswith("https://127.0.0.1:")
        async with aiohttp.ClientSession() as client:
            async with client.get(daemon.url + "/health", ssl=trust) as response:
                assert response.status == 200
            with pytest.raises(aiohttp.ClientError):
                await client.get(daemon.url.replace("https", "http") + "/health")
        assert await daemon.stop() == 0
    code, _, err = await command(
        "run",
        env={**env, "VOLSVC_HTTP__KEY_FILE": certificate(tmp_path, "x")["VOLSVC_HTTP__KEY_FILE"]},
        cwd=tmp_path,
    )
    assert code == 1
    assert "http.key_file" in err
    code, _, err = await command(
        "run", env={"VOLSVC_HTTP__CERT_FILE": env["VOLSVC_HTTP__CERT_FILE"]}, cwd=tmp_path
    )
    assert code == 2
    assert "http.key_file" in err


async def test_streams_end_with_the_service(tmp_path: Path) -> None:
    """SIGTERM ends streams with a time to reconnect, and the daemon exits in time."""
    async with running(cwd=tmp_path) as daemon, aiohttp.ClientSession() as client:
        async with client.get(daemon.url + "/stream") as response:
            reader = Reader(response)
            first, *news = await reader.take(5)
            assert first.kind == "resync"
            assert {event.kind for event in news} == {"forecast"}
            daemon.process.send_signal(signal.SIGTERM)
            rest: list[Any] = await reader.take(1_000)
            assert len(rest) < 1_000
            assert len(reader.retry) == 2
        async with asyncio.timeout(8):
            assert await daemon.process.wait() == 0
