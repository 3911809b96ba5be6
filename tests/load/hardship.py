"""Minutes of ticks on a broker, with slow readers, kills, a full disk and added partitions.

`make soak-faults` ends with 0 if no answer was cut, health was right at every moment, no tick was
lost or counted twice, and memory does not grow; else with 1 and what it saw.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import random
import sys
import tempfile
import traceback
import uuid
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp

from tests.daemon import command, eventually
from tests.full_disk import files_end_at, filled, small_disk
from tests.kafka.broker import Broker
from tests.kafka.log import add_partitions, read_topic
from tests.kafka.test_daemon import as_text
from tests.kafka.test_topics import ended, refused
from tests.load.phases import NO_ANSWER, OK, clock, thirds
from tests.load.soak import SLACK_MB_PER_HOUR, VARIANTS, WARM_UP, slope
from tests.load.stage import PARTITIONS, POLL_S, QUIET, SAMPLE_S, Stage, health_of, quiet_symbols
from tests.needs import require
from tests.web.test_slow_readers import SYMBOLS
from volsvc.commands.files import generate_file

MORE_PARTITIONS = 6
DISK_BYTES = 4 * 2**20
SWAP_S, FULL_S, DRAIN_S = 1.0, 30.0, 60.0
# A client notices added partitions within half a minute.
NOTICE_S = 30.0
# The shortest life, in seconds, that says something about memory.
LEAST_LIFE_S = 120.0
# That of a container in deploy/.
MOST_MB = 1_024
UNWRITTEN = "degraded: journal"
# A part that meets the new partitions starts again, and then fails for good.
NOTICED = (
    *(f"degraded: {parts}" for parts in ("consumer", "replica", "consumer, replica")),
    *(f"fail: {parts}" for parts in ("consumer", "replica", "consumer, replica")),
)


# --- faults -------------------------------------------------------------------------------


async def kills(stage: Stage, count: int, pause_s: float, dice: random.Random) -> None:
    """Kill the service some times; it returns with every symbol."""
    for _ in range(count):
        await stage.go_on(dice.uniform(0, 2))
        stage.course.begin("killed, and started again", NO_ANSWER, OK)
        await stage.kill()
        await stage.start(SYMBOLS)
        await stage.calm(pause_s)


async def swap(stage: Stage, client: aiohttp.ClientSession) -> None:
    """Change the active model."""
    variant = VARIANTS[stage.swaps % len(VARIANTS)]
    url = f"{stage.life.daemon.url}/models/active"
    async with client.put(url, json={"variant": variant}) as response:
        answer = await response.json()
    assert response.status == 200, f"the swap was answered by {answer}"
    assert answer["serving"]["variant"] == variant, answer
    stage.swaps += 1


async def full_disk(stage: Stage, seconds: float) -> None:
    """Fill the disk of the service under model swaps, and free it again."""
    journal = stage.disk / "journal" / "models.jsonl"
    daemon = stage.life.daemon
    # In the middle of a line, as a full disk does.
    limited = files_end_at(journal.stat().st_size + 1_000, daemon.process.pid)
    async with aiohttp.ClientSession() as client:
        stage.course.begin("the disk is filled, models are swapped", OK, UNWRITTEN)
        with filled(stage.disk) if stage.small else limited:

            async def unwritten() -> bool:
                await swap(stage, client)
                return await health_of(stage.life) == UNWRITTEN

            await eventually(unwritten, 10, "health says that the journal is not written", 0.2)
            stage.course.begin("the disk is full, models are swapped", UNWRITTEN)
            checks = (await daemon.get("/health"))["checks"]
            assert "cannot be written: " in checks["journal"]["detail"], checks["journal"]
            for _ in range(round(seconds / SWAP_S)):
                await stage.go_on(SWAP_S)
                await swap(stage, client)
            assert await daemon.status("/health/ready") == 200
            assert await daemon.status("/models/history") == 200
            assert await daemon.metric("volsvc_journal_errors_total") >= seconds / SWAP_S
            stage.course.begin("the disk is free again", OK, UNWRITTEN)

        async def written() -> bool:
            return await health_of(stage.life) == OK

        await eventually(written, 3 * POLL_S, "what waited is written")
    await whole_journal(stage)


async def whole_journal(stage: Stage) -> None:
    """Assert that the journal on the disk is unbroken, and has every swap."""
    arguments = ("models", "history", "--verify")
    code, out, err = await command(*arguments, env=stage.env, cwd=stage.folder)
    assert code == 0, out + err
    entries = (await stage.life.daemon.get("/models/history?limit=1000"))["entries"]
    kinds = Counter(entry["kind"] for entry in entries)
    assert kinds["swap"] == stage.swaps, f"{stage.swaps} swaps were made, the journal has {kinds}"
    assert kinds["start"] == stage.starts, f"{stage.starts} starts were made, it has {kinds}"


async def more_partitions(stage: Stage) -> None:
    """Add partitions to the topic of ticks, and follow the remedy of the runbook."""
    stage.course.begin(
        f"partitions {PARTITIONS} → {MORE_PARTITIONS}, until the service has ended",
        *(OK, NO_ANSWER, *NOTICED),
    )
    stage.ending()
    await add_partitions(stage.servers, stage.topic, MORE_PARTITIONS)
    try:
        said = {"service": await ended(stage.life.daemon, NOTICE_S)}
    except TimeoutError:
        stage.course.fault("the service reads on, and not from the new partitions")
        said = {}
        await stage.life.daemon.stop()
    code, said["replay"] = await stage.published(NOTICE_S)
    assert code == 1, f"the replay ended with {code}: {said['replay']}"
    for text in said.values():
        assert f"{stage.topic} had {PARTITIONS} partitions and has {MORE_PARTITIONS} now" in text
        assert "Set kafka.topic to a new topic" in text, text
    again = await refused(stage.env, stage.folder)
    stage.starts += 1
    assert f"has {MORE_PARTITIONS} partitions but" in again, again
    stage.course.begin("the remedy: a new topic, and the ticks replayed into it", NO_ANSWER, OK)
    stage.use(f"{uuid.uuid4().hex[:8]}.raw", MORE_PARTITIONS)
    await stage.start(0)
    await stage.publish()
    await stage.every_symbol()


# --- ticks --------------------------------------------------------------------------------


async def no_tick_lost(stage: Stage) -> None:
    """Stop the replay, and compare every symbol with all ticks of its topic."""
    stage.course.begin("the ticks end, and are counted", OK)
    await stage.stop_publishing()
    found = await read_topic(stage.servers, stage.topic, stage.partitions)
    rows = {int(tick.headers["volsvc-position"].rpartition(b":")[2]): tick for tick in found}
    assert len(rows) == len(found), f"{len(found) - len(rows)} ticks were published twice"
    wanted = Counter((tick.key or b"").decode() for tick in found)

    wrong: dict[str, tuple[int, int]] = {}

    async def counted() -> bool:
        found = {name: row["quality"]["ticks"] for name, row in (await latest(stage)).items()}
        wrong.clear()
        wrong.update({n: (found.get(n, 0), k) for n, k in wanted.items() if found.get(n) != k})
        return not wrong

    try:
        await eventually(counted, DRAIN_S, "every tick is counted once", 0.5)
    except AssertionError:
        stage.course.fault(f"{len(wrong)} symbols with other counts of ticks: {wrong}")
    stage.ticks += len(found)
    recording = stage.folder / f"{stage.topic}.ndjson"
    recording.write_bytes(b"".join((rows[row].raw or b"") + b"\n" for row in sorted(rows)))
    await same_features(stage, recording)


async def latest(stage: Stage) -> Mapping[str, Any]:
    """Return the newest answer of each symbol."""
    answer = await stage.life.daemon.get("/latest")
    return {row["symbol"]: row for row in answer["symbols"]}


async def same_features(stage: Stage, recording: Path) -> None:
    """Compare the newest features of each symbol with those of a run that nothing disturbed."""
    arguments = ("features", str(recording), "--out", f"{recording.stem}.csv")
    code, _, err = await command(*arguments, env=stage.env, cwd=stage.folder, within_s=300)
    assert code == 0, err
    with (stage.folder / f"{recording.stem}.csv").open() as file:
        newest = {row["symbol"]: tuple(row.values()) for row in csv.DictReader(file)}
    rows = await latest(stage)
    found = {name: as_text({**row, "time": row["as_of"]}) for name, row in rows.items()}
    wrong = [name for name in newest if found.get(name) != newest[name]]
    if wrong:
        stage.course.fault(f"{len(wrong)} symbols differ from an undisturbed run: {wrong[:5]}")
    for name, row in rows.items():
        if row["quality"]["late"] or row["quality"]["duplicates"]:
            stage.course.fault(f"{name}: {json.dumps(row['quality'])}")


# --- the soak -----------------------------------------------------------------------------


async def scenario(stage: Stage, minutes: float) -> None:
    """Go through all faults, and end in the longest calm."""
    share_s, dice = 60 * minutes / 100, random.Random(7)
    stage.course.begin("the first ticks", OK, NO_ANSWER)
    await stage.start(0)
    await stage.publish()
    async with stage.watched():
        await stage.every_symbol()
        await stage.calm(8 * share_s)
        await kills(stage, max(2, round(minutes / 4)), 3 * share_s, dice)
        await full_disk(stage, FULL_S)
        await stage.calm(4 * share_s)
        await no_tick_lost(stage)
        await stage.publish()
        await stage.calm(3 * share_s, "the replay goes on where it stopped")
        await more_partitions(stage)
        await stage.calm(4 * share_s)
        await kills(stage, 2, 3 * share_s, dice)
        left_s = 60 * minutes - stage.course.now_s
        await stage.calm(max(20.0, left_s), "the longest calm")
        await no_tick_lost(stage)
        await whole_journal(stage)
    stage.ending()
    assert await stage.life.daemon.stop() == 0


async def soak(minutes: float) -> Stage:
    """Run the soak, and return what it saw."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ticks = folder / "ticks.ndjson"
        generate_file(ticks, minutes=minutes + 5, seed=5, symbols=quiet_symbols(), start=QUIET)
        broker = Broker(folder / "broker")
        await asyncio.to_thread(broker.start)
        try:
            with small_disk(folder / "disk", DISK_BYTES) as small:
                async with AsyncExitStack() as stack:
                    stage = Stage(folder, ticks, broker.bootstrap_servers, stack, small=small)
                    try:
                        await scenario(stage, minutes)
                    except Exception as error:  # noqa: BLE001
                        traceback.print_exc()
                        stage.course.fault(f"the soak ended: {error!r}")
                    finally:
                        stage.kill_replay()
        finally:
            await asyncio.to_thread(broker.kill)
        return stage


def memory(stage: Stage) -> None:
    """Note a fault if memory grows in the longest life, or if any life had more than it may."""
    peaks = [life.peak_mb for life in stage.lives]
    print("peaks of memory, MB:", *(f"{peak:.0f}" for peak in peaks))
    if max(peaks) > MOST_MB:
        stage.course.fault(f"a process had {max(peaks):.0f} MB, where {MOST_MB} MB are the limit")
    longest = max(stage.lives, key=lambda life: len(life.at_s))
    first = int(WARM_UP * len(longest.at_s))
    at_s, rss_mb = longest.at_s[first:], longest.rss_mb[first:]
    if len(longest.at_s) * SAMPLE_S < LEAST_LIFE_S:
        print("memory: no life was long enough to judge it")
        return
    growth, error = slope(at_s, rss_mb)
    print("memory, MB:", *(f"{value:.0f}" for value in rss_mb[:: max(1, len(rss_mb) // 10)]))
    early, late = thirds(rss_mb)
    print(
        f"memory in the longest life, from {clock(at_s[0])} to {clock(at_s[-1])}: {growth:+.1f} "
        f"MB/h, standard error {error:.1f}; median {early:.1f} MB, at the end {late:.1f} MB"
    )
    if growth > max(SLACK_MB_PER_HOUR, 3 * error):
        stage.course.fault(f"memory grows by {growth:.1f} MB/h")


def main() -> None:
    """Run the soak, and exit with its verdict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    options = parser.parse_args()
    require("a Kafka broker")
    stage = asyncio.run(soak(options.minutes))
    print(f"\n{stage.course.table()}\n")
    memory(stage)
    print("ready after a start, s:", *(f"{life.ready_s:.1f}" for life in stage.lives))
    print(
        f"{stage.ticks:,} ticks, {stage.kills} kills, {stage.swaps} swaps, "
        f"{stage.readers.bytes / 1e6:,.0f} MB in whole answers: {dict(stage.readers.by_path)}"
    )
    print("\n".join(stage.course.faults) or "nothing lost, nothing cut, nothing wrong")
    sys.exit(bool(stage.course.faults))


if __name__ == "__main__":
    main()
