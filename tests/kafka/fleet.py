"""Instances of one service on one broker, and checks of their results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from tests.daemon import RunningDaemon, command, eventually
from tests.kafka.log import LogRecord, read_topic
from tests.made import features

PARTITIONS = 6
SESSION_MS = 2_000


def environment(servers: str, name: str, **more: str) -> dict[str, str]:
    """Return an instance's environment, with topics of its own and a session of two seconds."""
    return {
        "VOLSVC_BUS__TRANSPORT": "kafka",
        "KAFKA_BOOTSTRAP_SERVERS": servers,
        "KAFKA_TOPIC": f"{name}.raw",
        "VOLSVC_KAFKA__FEATURES_TOPIC": f"{name}.features",
        "VOLSVC_KAFKA__DEAD_LETTER_TOPIC": f"{name}.dlq",
        "VOLSVC_KAFKA__GROUP_ID": name,
        "VOLSVC_KAFKA__PARTITIONS": str(PARTITIONS),
        "VOLSVC_KAFKA__SESSION_TIMEOUT_MS": str(SESSION_MS),
        "VOLSVC_KAFKA__HEARTBEAT_INTERVAL_MS": "300",
        **more,
    }


def of_instance(env: Mapping[str, str], instance: str) -> dict[str, str]:
    """Return the environment of one instance of several: its name, and a folder of its own."""
    return {
        **env,
        "VOLSVC_SERVICE__INSTANCE_ID": instance,
        "VOLSVC_SERVICE__DATA_DIR": f"var-{instance}",
    }


def undisturbed(recording: Path) -> tuple[Path, dict[str, str]]:
    """Return the file of a recording's digests, and the newest event time of each symbol."""
    out, digests = features(recording, "ndjson")
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    return digests, {row["symbol"]: row["time"] for row in rows}


async def published(servers: str, name: str) -> list[LogRecord]:
    """Return the retained features records that our instances wrote."""
    records = await read_topic(servers, f"{name}.features", PARTITIONS)
    return [record for record in records if "volsvc-writer" in record.headers]


async def assert_identical(servers: str, name: str, digests: Path, folder: Path) -> None:
    """Assert that every published digest is that of the undisturbed run."""
    run = folder / f"{name}.ndjson"
    records = await published(servers, name)
    run.write_bytes(b"".join((record.raw or b"") + b"\n" for record in records))
    code, out, err = await command("verify", str(digests), str(run), cwd=folder)
    assert code == 0, out + err
    assert out.startswith("identical: "), out


async def caught_up(
    daemon: RunningDaemon, newest: dict[str, str], within_s: float, what: str = "every last tick"
) -> None:
    """Wait until an instance answers with the last tick of every symbol."""

    async def done() -> bool:
        answers = [await daemon.get(f"/latest/{symbol}") for symbol in newest]
        found = {a.get("symbol"): a.get("as_of") for a in answers}
        return all(found.get(symbol) == at for symbol, at in newest.items())

    await eventually(done, within_s, what)
