"""Tests of our topics with an independent client, kcat, against docs/topics.md."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import command, eventually, running
from tests.kafka.broker import Broker
from tests.kafka.fleet import caught_up, environment, undisturbed
from tests.needs import need
from volsvc.transport import Record
from volsvc.transport.codec import decode_tick
from volsvc.transport.features_record import decode_snapshot

DOC = Path(__file__).parents[2] / "docs" / "topics.md"


def example(topic: str) -> bytes:
    """Return the example record of a topic in the documentation."""
    section = DOC.read_text().split(f"\n## {topic}\n")[1].split("\n## ")[0]
    found = re.search(r"```json\n(.*?)```", section, re.DOTALL)
    assert found, topic
    return found[1].replace("\n", "").encode()


async def kcat(*arguments: str, stdin: bytes | None = None) -> bytes:
    """Run kcat, and return its output."""
    need("kcat")
    process = await asyncio.create_subprocess_exec(
        "kcat",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate(stdin)
    assert process.returncode == 0, err.decode()
    return out


def shape(value: Any) -> Any:
    """Return the nested names of a JSON value; of a list, those of its first item."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    return [shape(inner) for inner in value[:1]] if isinstance(value, list) else None


def test_the_documented_records_are_read() -> None:
    """The documented examples are valid for our own decoders."""
    tick = decode_tick(Record("t", 0, 0, b"BTC-USD", example("ticks.raw")))
    assert tick.symbol == "BTC-USD"
    assert tick.best_ask == 69_705.91
    remote = decode_snapshot(Record("t", 0, 0, b"BTC-USD", example("ticks.features")))
    assert remote.snapshot.quality.ticks == 812
    assert remote.snapshot.predictions[0].sigma == 0.00021


@pytest.mark.long
async def test_kcat_reads_and_writes(broker: Broker, recording: Path, tmp_path: Path) -> None:
    """Both topics hold the documented fields, and the documented tick is served."""
    servers, name = broker.bootstrap_servers, uuid.uuid4().hex[:8]
    digests, newest = undisturbed(recording)
    env = environment(servers, name)
    async with running("--path", str(recording), "--speed", "max", env=env, cwd=tmp_path) as daemon:
        await caught_up(daemon, newest, 60)
        read = ("-C", "-e", "-q", "-b", servers, "-t")
        raw = await kcat(*read, f"{name}.raw", "-f", "%k %s\n")
        assert len(raw.splitlines()) > 20_000
        key, _, value = raw.splitlines()[0].partition(b" ")
        assert json.loads(value).keys() == json.loads(example("ticks.raw")).keys()
        assert json.loads(value)["symbol"].encode() == key

        run = tmp_path / "run.ndjson"
        run.write_bytes(await kcat(*read, f"{name}.features"))
        ours = shape(json.loads(run.read_bytes().splitlines()[-1]))
        documented = shape(json.loads(example("ticks.features")))
        assert ours.pop("features").keys() >= documented.pop("features").keys()
        assert ours == documented
        headers = await kcat(*read, f"{name}.features", "-f", "%h\n", "-c", "1")
        for header in (b"offset", b"writer", b"state", b"ticks"):
            assert b"volsvc-%s=" % header in headers
        code, out, err = await command("verify", str(digests), str(run), cwd=tmp_path)
        assert code == 0, out + err

        written = ("-P", "-b", servers, "-t", f"{name}.raw", "-k", "BTC-USD")
        await kcat(*written, stdin=example("ticks.raw") + b"\n")

        async def served() -> bool:
            return bool((await daemon.get("/latest/BTC-USD"))["price"] == 69_705.905)

        await eventually(served, 20, "the documented tick")
        assert await daemon.stop() == 0
