"""The daemon on the in-process bus, as a user runs it."""

import asyncio
import csv
import gzip
import json
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.daemon import command, eventually, running
from tests.recordings import TEN_MINUTES
from tests.waiting import PATIENCE

ROW = {"ret_mean": 0.05, "ret_std": 0.01, "n": 50}


def same(row: dict[str, str], published: dict[str, Any]) -> bool:
    """Return true if a CSV row of `volsvc features` equals a published row to the last bit."""
    return all(repr(published[name]) == row[name] or published[name] == row[name] for name in row)


async def features_of(path: Path, folder: Path) -> list[dict[str, str]]:
    """Return the rows of `volsvc features`."""
    code, _, err = await command("features", str(path), "--out", "features.csv", cwd=folder)
    assert code == 0, err
    with (folder / "features.csv").open() as file:
        return list(csv.DictReader(file))


async def test_first_run(tmp_path: Path) -> None:
    """Without a file the generator streams; all answer once it is ready, and /latest moves."""
    async with running(cwd=tmp_path) as daemon:
        status, answer = await daemon.predict(rows=[ROW])
        assert status == 200
        assert {"scores", "model_variant", "version", "ts"} <= set(answer)
        for symbol in ("ETH-USD", "SOL-USD", "BTC-USD"):
            before = await daemon.get(f"/latest/{symbol}")
            assert before["quality"]["verdict"] == "ok"

        async def moved() -> bool:
            return bool((await daemon.get("/latest/BTC-USD"))["as_of"] > before["as_of"])

        await eventually(moved, 10, "a newer tick")
        assert await daemon.stop() == 0


@pytest.mark.parametrize("speed", ["max", pytest.param("30", marks=pytest.mark.long)])
@pytest.mark.parametrize("path", TEN_MINUTES)
async def test_published_features_equal_the_command(path: Path, speed: str, tmp_path: Path) -> None:
    """The daemon publishes the rows that `volsvc features` writes, to the last bit."""
    rows = await features_of(path, tmp_path)
    env = {"VOLSVC_FEATURES__HISTORY": "20000"}
    async with running("--path", str(path), "--speed", speed, env=env, cwd=tmp_path) as daemon:
        wanted = len(rows) if speed == "max" else 200

        async def processed() -> bool:
            return await daemon.metric("volsvc_ticks_total") >= wanted

        await eventually(processed, 60, f"{wanted} ticks")
        for symbol in {row["symbol"] for row in rows}:
            of_symbol = [row for row in rows if row["symbol"] == symbol]
            published = (await daemon.get(f"/history/{symbol}?limit=20000"))["rows"]
            assert len(published) == len(of_symbol) if speed == "max" else published
            for row, other in zip(of_symbol, published, strict=speed == "max"):
                assert same(row, other)


async def test_doubled_recording_gives_the_clean_one(recording: Path, tmp_path: Path) -> None:
    """A recording that holds every tick twice has the features of the clean one."""
    clean = tmp_path / "clean.ndjson"
    double = tmp_path / "double.ndjson"
    lines = gzip.decompress(recording.read_bytes()).decode().splitlines()[:5_000]
    stripped = [{k: v for k, v in json.loads(x).items() if k != "trade_id"} for x in lines]
    texts = [json.dumps(record) for record in stripped]
    clean.write_text("\n".join(texts))
    double.write_text("\n".join(text for text in texts for _ in range(2)))
    first = await features_of(clean, tmp_path)
    assert first == await features_of(double, tmp_path)


async def test_stop_during_a_replay_at_full_speed(recording: Path, tmp_path: Path) -> None:
    """SIGTERM ends the daemon in time with code 0; no request in flight fails."""
    arguments = ("--path", str(recording), "--speed", "max")
    env = {"VOLSVC_SOURCE__LOOP": "true"}
    async with running(*arguments, env=env, cwd=tmp_path) as daemon:
        outcomes: list[int] = []

        async def ask() -> None:
            while True:
                try:
                    outcomes.append((await daemon.predict(rows=[ROW] * 200))[0])
                except aiohttp.ClientConnectorError:
                    return

        clients = [asyncio.create_task(ask()) for _ in range(8)]

        async def busy() -> bool:
            return len(outcomes) > 50

        await eventually(busy, 20, "requests under way")
        assert await daemon.stop(within_s=10) == 0
        await asyncio.wait_for(asyncio.gather(*clients), 10)
        assert set(outcomes) == {200}


async def test_stop_while_the_daemon_is_imported(tmp_path: Path) -> None:
    """SIGTERM in the half second of imports is a stop in order too."""
    program = """
import os, signal, sys

class SendsSignal:
    def find_spec(self, name, path=None, target=None):
        if name == "volsvc.daemon.daemon":
            os.kill(os.getpid(), signal.SIGTERM)

sys.meta_path.insert(0, SendsSignal())
sys.argv = ["volsvc", "run", "--port", "0"]
from volsvc.cli.main import main
main()
"""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        _, log = await process.communicate()
    assert (process.returncode, b"stopped" in log) == (0, True), log


async def test_second_signal_quits_at_once(tmp_path: Path) -> None:
    """A second SIGTERM ends the process during the drain."""
    async with running(cwd=tmp_path) as daemon:
        host, port = daemon.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        # The drain waits for a request whose body never comes.
        writer.write(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        await writer.drain()

        async def in_flight() -> bool:
            return await daemon.metric("http_server_active_requests") == 2

        await eventually(in_flight, 10, "the request is in flight")
        daemon.process.send_signal(signal.SIGTERM)

        async def draining() -> bool:
            return "draining" in daemon.log

        await eventually(draining, 10, "the drain")
        assert daemon.process.returncode is None
        assert await daemon.stop(signal.SIGTERM, within_s=2) == 128 + signal.SIGTERM
        writer.close()


async def test_hangup_reloads(tmp_path: Path) -> None:
    """SIGHUP applies variant and log level; invalid settings change nothing."""
    config = tmp_path / "config.toml"
    config.write_text('[model]\nvariant = "baseline"\n[service]\nlog_level = "info"\n')
    async with running("--config", "config.toml", cwd=tmp_path) as daemon:
        assert (await daemon.get("/version"))["model"].startswith("baseline-")

        async def hang_up(text: str, event: str) -> None:
            config.write_text(text)
            before = daemon.log.count(event)
            daemon.process.send_signal(signal.SIGHUP)

            async def logged() -> bool:
                return daemon.log.count(event) > before

            await eventually(logged, 10, event)

        await hang_up('[model]\nvariant = "ml"\n[service]\nlog_level = "debug"\n', "reloaded")
        assert (await daemon.get("/version"))["model"].startswith("ml-")
        assert await daemon.metric("volsvc_model_swaps_total") == 1
        assert '"request"' in daemon.log
        await hang_up("[model]\nvarient = 1\n", "reload_refused")
        assert (await daemon.predict(rows=[ROW]))[0] == 200
        await hang_up('[model]\nvariant = "baseline"\n', "reloaded")
        assert (await daemon.get("/version"))["model"].startswith("baseline-")
        assert await daemon.metric("volsvc_fallback_active") == 0
        assert await daemon.stop() == 0


async def test_port_in_use(tmp_path: Path) -> None:
    """A port in use gives one line and exit code 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, out, err = await command("run", "--port", port, cwd=tmp_path)
    assert code == 1
    assert out == ""
    assert f"http.port = {port}" in err
    assert "in use" in err
    assert "Traceback" not in err


BAD_FILES = {
    "empty.csv": ("", "is empty"),
    "header.csv": ("timestamp,price\n", "holds no rows"),
    "column.csv": ("timestamp,volume\n2026-01-01T00:00:00Z,1\n", "missing column 'price'"),
    "words.csv": ("timestamp,price\n2026-01-01T00:00:00Z,abc\n", "line 2: field 'price'"),
    "empty.ndjson": ("", "is empty"),
    "array.ndjson": ('[{"price": 1}]\n', "line 1: field 'time'"),
    "ticks.xls": ("\x00\x01\n", "is no text"),
}


@pytest.mark.parametrize("name", BAD_FILES)
async def test_unusable_recordings(name: str, tmp_path: Path) -> None:
    """A recording without a tick gives one line that names file and fault."""
    text, fault = BAD_FILES[name]
    (tmp_path / name).write_text(text)
    code, _, err = await command("run", "--path", name, "--port", "0", cwd=tmp_path)
    assert code in (1, 2)
    (line,) = err.strip().splitlines()
    assert name in line
    assert fault in line


async def test_bad_rows_are_skipped_and_named(tmp_path: Path) -> None:
    """Bad rows are counted and logged with file, line and field; the good ones are served."""
    rows = ["timestamp,price"]
    rows += [f"2026-01-01T00:00:{second:02d}Z,{100 + second / 10}" for second in range(20)]
    rows[5] = "2026-01-01T00:00:04Z,abc"
    rows[6] = "2026-01-01T00:00:05Z,-1"
    rows[7] = "yesterday,100"
    rows[9] = "2025-12-31T00:00:00Z,100"
    (tmp_path / "ticks.csv").write_text("\n".join(rows))
    async with running("--path", "ticks.csv", "--speed", "max", cwd=tmp_path) as daemon:

        async def processed() -> bool:
            return await daemon.metric("volsvc_ticks_total") == 16

        await eventually(processed, 10, "sixteen good ticks")
        assert await daemon.metric('volsvc_ticks_rejected_total{reason="price"}') == 2
        assert await daemon.metric('volsvc_ticks_rejected_total{reason="time"}') == 1
        assert await daemon.metric('volsvc_ticks_rejected_total{reason="late"}') == 1
        # The rows have no symbol, so it is the file's name.
        assert (await daemon.get("/latest/ticks"))["quality"]["late"] == 1
        assert await daemon.stop() == 0
    events = [json.loads(line) for line in daemon.log.splitlines()]
    skipped = [(e["line"], e["field"]) for e in events if e["event"] == "row_skipped"]
    assert skipped == [(6, "price"), (7, "price"), (8, "time")]
    late = [(e["file"], e["line"]) for e in events if e["event"] == "row_out_of_order"]
    assert late == [("ticks.csv", 10)]
    assert [(e["file"], e["rows"]) for e in events if e["event"] == "rows_skipped"] == [
        ("ticks.csv", 3)
    ]


async def test_stop_inside_millions_of_useless_lines(tmp_path: Path) -> None:
    """SIGTERM is obeyed while a file without ticks is read, however long it is."""
    good = b"time,symbol,price\n2026-01-05T14:00:00Z,BTC-USD,1\n"
    # A minute of work.
    (tmp_path / "ticks.csv.gz").write_bytes(gzip.compress(good + b"x\n" * 10_000_000, 1))
    async with running("--path", "ticks.csv.gz", "--speed", "max", cwd=tmp_path) as daemon:

        async def under_way() -> bool:
            return await daemon.metric("volsvc_ticks_rejected_total") > 1_000

        await eventually(under_way, 10, "some rows are rejected")
        started = time.monotonic()
        assert await daemon.stop(within_s=5) == 0
        assert time.monotonic() - started < 3 * PATIENCE
        assert "rows_skipped" not in daemon.log, "it was still reading"


async def test_names_of_sources_are_any_json(tmp_path: Path) -> None:
    """Half of a surrogate pair, or a nest, in the place of a name ends nothing."""
    names = ["\ud800", "\x00\x1b[2J", [[[]]], {"a": "\udfff"}, 7, "x" * 10_000]
    rows = [
        {"time": f"2026-01-05T14:00:{i:02d}Z", "symbol": "BTC-USD", "price": 1, "source": name}
        for i, name in enumerate(names)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "ticks.ndjson").write_text(text)
    async with running("--path", "ticks.ndjson", "--speed", "max", cwd=tmp_path) as daemon:

        async def processed() -> bool:
            return await daemon.metric("volsvc_ticks_total") == len(rows)

        await eventually(processed, 10, "every tick")
        assert await daemon.stop() == 0
