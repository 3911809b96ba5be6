"""Load generators and the service under load, each on a processor of its own."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import re
import statistics
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

SERVER_CPU, LOAD_CPU = "0", str(min(1, (os.cpu_count() or 1) - 1))
ROW = {"ret_mean": 0.0, "ret_std": 3e-5, "n": 49, "span_s": 10}
BODY = json.dumps({"rows": [ROW]})
ROWS_SCRIPT = Path(__file__).with_name("predict.lua")


@dataclass(frozen=True, slots=True)
class Service:
    """A running daemon."""

    url: str
    pid: int

    def rss_mb(self) -> float:
        """Return the resident memory in MB."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def peak_mb(self) -> float:
        """Return the most resident memory so far in MB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 2**10

    def cpu_s(self) -> float:
        """Return the processor seconds used so far, without those of children."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def fds(self) -> int:
        """Return the number of open file descriptors."""
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())


@dataclass(frozen=True, slots=True)
class Figures:
    """The results of a scenario; times are in ms, of accepted answers (200)."""

    name: str
    seconds: float
    statuses: Counter[int]
    times_ms: Sequence[float]
    note: str = ""

    @property
    def rate(self) -> float:
        """Answers per second."""
        return sum(self.statuses.values()) / self.seconds if self.seconds else 0.0

    def quantile(self, share: float) -> float:
        """Return a quantile of the accepted answers' times; NaN without any."""
        if not self.times_ms:
            return float("nan")
        if len(self.times_ms) == 1:
            return self.times_ms[0]
        cuts = statistics.quantiles(self.times_ms, n=1_000, method="inclusive")
        return cuts[min(998, max(0, round(share * 1_000) - 1))]


@asynccontextmanager
async def service(folder: Path, *arguments: str, **env: str) -> AsyncIterator[Service]:
    """Run `volsvc run` on its own processor until the block ends."""
    pinned = ["taskset", "-c", SERVER_CPU, sys.executable, "-m", "volsvc", "run", "--port", "0"]
    process = await asyncio.create_subprocess_exec(
        *pinned,
        *arguments,
        cwd=folder,
        env={**os.environ, "VOLSVC_MODEL__IMPORT_PACKAGED": "false", **env},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            line = (await process.stdout.readline()).decode()
        url = line.split("ready at ")[1].strip().rstrip("/")
        yield Service(url, process.pid)
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(30):
            await process.wait()


async def command(*arguments: str, within_s: float = 300) -> str:
    """Run a command on the load's processor, and return its output."""
    process = await asyncio.create_subprocess_exec(
        "taskset", "-c", LOAD_CPU, *arguments, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(within_s):
        out, _ = await process.communicate()
    assert process.returncode == 0, f"{arguments[0]} ended with {process.returncode}"
    return out.decode()


async def hey(name: str, url: str, *options: str, body: str = BODY) -> Figures:
    """Send requests by hey at a fixed rate; return time and status of each."""
    text = await command(
        "hey", "-o", "csv", "-m", "POST", "-T", "application/json", "-d", body, *options,
        f"{url}/predict",
    )  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(text)))
    statuses = Counter(int(row["status-code"]) for row in rows)
    taken = [1e3 * float(row["response-time"]) for row in rows if row["status-code"] == "200"]
    ends = [float(row["offset"]) + float(row["response-time"]) for row in rows]
    return Figures(name, max(ends, default=0.0), statuses, taken)


async def paced(name: str, url: str, rate: float, seconds: float, connections: int) -> Figures:
    """Send requests at a steady rate over `connections` connections."""
    each = rate / connections
    # hey takes whole requests per second and connection.
    used = connections if each >= 1 else max(1, int(rate))
    pace = str(max(1, round(rate / used)))
    return await hey(name, url, "-z", f"{seconds:g}s", "-c", str(used), "-q", pace)


@dataclass(frozen=True, slots=True)
class Throughput:
    """The results of a run of wrk."""

    rate: float
    p50_ms: float
    p99_ms: float


async def wrk(
    url: str, seconds: int, connections: int, rows: int = 0, script: Path = ROWS_SCRIPT
) -> Throughput:
    """Send requests as fast as they are answered: GET, or POST of the script's number of rows.

    Raises ValueError without a figure, and where an answer was none of 200.
    """
    post = ("-s", str(script)) if rows else ()
    out = await command(
        *("wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "--latency"),
        *(*post, url, "--", str(rows)),
    )
    rate = re.search(r"Requests/sec:\s+([\d.]+)", out)
    quantiles = [re.search(rf"{at}%\s+([\d.]+)(us|ms|s)\b", out) for at in (50, 99)]
    if rate is None or None in quantiles or "Non-2xx" in out or "Socket errors" in out:
        raise ValueError(f"wrk says: {out}")
    if float(rate[1]) == 0:
        raise ValueError(f"{url} answered nothing in {seconds} s: {out}")
    in_ms = {"us": 1e-3, "ms": 1.0, "s": 1e3}
    p50, p99 = (float(found[1]) * in_ms[found[2]] for found in quantiles if found)
    return Throughput(float(rate[1]), p50, p99)


async def capacity(url: str, seconds: int = 8, connections: int = 32) -> float:
    """Return the capacity in requests of one row per second, as wrk finds it; raises ValueError."""
    return (await wrk(f"{url}/predict", seconds, connections, rows=1)).rate
