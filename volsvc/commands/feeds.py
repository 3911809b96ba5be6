"""The commands around live feeds: record, download, simulate."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from volsvc.commands.progress import progress_bar
from volsvc.commands.row_writer import write_rows
from volsvc.config.settings import Settings, SettingsError
from volsvc.daemon.feed_listener import FeedListener
from volsvc.daemon.listeners import PartsListener
from volsvc.domain import SourceError, SourceRow, Tick, is_symbol, parse_time
from volsvc.sources.download import (
    CANDLE_COLUMNS,
    TRADE_COLUMNS,
    Downloader,
    DownloadRequest,
    PartFile,
)
from volsvc.sources.factory import DEFAULT_SYMBOLS, file_source, live_source
from volsvc.sources.files import file_format
from volsvc.sources.generator import Generator, GeneratorSpec
from volsvc.sources.live.coinbase import Coinbase
from volsvc.sources.live.rest import rest_client
from volsvc.sources.recorder import Limits, Recorder
from volsvc.sources.replay import shifted
from volsvc.telemetry.health import Health
from volsvc.telemetry.logs import get_logger
from volsvc.telemetry.metrics import Metrics

# What a kill can lose of a recording.
FLUSH_S = 1.0
# Rows that wait for a slow disk; beyond this the venue waits.
MOST_PENDING = 100_000

log = get_logger(__name__)


# --- record -------------------------------------------------------------------------------


class RecordOptions(NamedTuple):
    """Where to record to, for how long (None: until stopped), and when to begin a new file."""

    out: Path
    minutes: float | None
    limits: Limits


async def record_feed(settings: Settings, order: RecordOptions, stop: asyncio.Event) -> None:
    """Write a venue's live ticks to files until `stop` is set or the time is over."""
    source = live_source(settings.source, FeedListener(Metrics(), Health()))
    recorder = Recorder(order.out, order.limits)
    seconds = order.minutes * 60 if order.minutes else None
    started = time.monotonic()

    def fraction() -> float:
        return min(1.0, (time.monotonic() - started) / seconds) if seconds else 0.0

    writing = _Writing(recorder)
    with progress_bar(f"recording to {order.out.name}", fraction) as advance:
        parts = [_read(source.batches(lambda row: False), writing, advance), writing.run()]
        await _until(stop, seconds, parts)
        await writing.flush()
        recorder.close()
    log.info("recorded", files=[str(path) for path in recorder.files], rows=writing.rows)


async def _until(
    stop: asyncio.Event, seconds: float | None, parts: Sequence[Coroutine[Any, Any, None]]
) -> None:
    """Run the parts for so long, or until `stop`; raises what one of them failed with."""
    tasks = [asyncio.create_task(part) for part in parts]
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({stopped, *tasks}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        stopped.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _read(
    batches: AsyncIterator[Sequence[SourceRow]],
    writing: _Writing,
    advance: Callable[[int], None],
) -> None:
    async with aclosing(batches):  # type: ignore[type-var]
        async for batch in batches:
            await writing.add(batch)
            advance(len(batch))


class _Writing:
    """Rows on their way to the disk, which may be slow: it is written to in a thread."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._pending: list[SourceRow] = []
        self._lock = asyncio.Lock()
        self.rows = 0

    async def add(self, rows: Sequence[SourceRow]) -> None:
        self._pending += rows
        self.rows += len(rows)
        if len(self._pending) > MOST_PENDING:
            await self.flush()

    async def run(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            await self.flush()

    async def flush(self) -> None:
        # Shielded: the thread goes on in any case, and what it writes must not be written again.
        await asyncio.shield(self._write())

    async def _write(self) -> None:
        async with self._lock:
            rows, self._pending = self._pending, []
            await asyncio.to_thread(self._recorder.write, rows)


# --- download -----------------------------------------------------------------------------


class DownloadOptions(NamedTuple):
    """What to download, from when to when (RFC 3339), and where to."""

    kind: str
    symbols: tuple[str, ...]
    start: str
    end: str
    out: Path


async def download_history(settings: Settings, order: DownloadOptions, stop: asyncio.Event) -> None:
    """Download trades or candles until they are complete or `stop` is set; can be resumed."""
    requests = _requests(order)
    file_format(order.out)
    if not order.out.parent.is_dir():
        raise SourceError(f"{order.out}: there is no folder {order.out.parent}")
    work = asyncio.create_task(_download(settings, requests, order.out))
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not work.done():
        work.cancel()
        await asyncio.wait({work})
        raise SourceError(f"{order.out}: not complete; the same command goes on where it stopped")
    work.result()


def _requests(order: DownloadOptions) -> list[DownloadRequest]:
    symbols = order.symbols or DEFAULT_SYMBOLS
    times = []
    for name, text in (("start", order.start), ("end", order.end)):
        try:
            times.append(parse_time(text))
        except ValueError as error:
            raise SettingsError(f"--{name}: {error}") from error
    for symbol in symbols:
        if not is_symbol(symbol):
            raise SettingsError(f"--symbols: {symbol!r} cannot be the name of a symbol")
    start_ns, end_ns = times
    if not start_ns < end_ns <= time.time_ns():
        raise SettingsError("--end: has to be after --start and not in the future")
    return [
        DownloadRequest(order.kind, symbol, start_ns, end_ns) for symbol in dict.fromkeys(symbols)
    ]


async def _download(settings: Settings, requests: Sequence[DownloadRequest], out: Path) -> None:
    base = settings.source.rest_url or Coinbase.rest_url
    parts = [PartFile(_part_path(out, order), order) for order in requests]
    async with rest_client(base, settings.source.rest_per_s) as client:
        downloader = Downloader(Coinbase(), client)
        done = [0.0] * len(requests)
        with progress_bar(f"downloading {out.name}", lambda: sum(done) / len(done)) as advance:
            for index, (order, part) in enumerate(zip(requests, parts, strict=True)):
                if not part.complete:
                    pages = downloader.pages(order, part.cursor)
                    async with aclosing(pages):  # type: ignore[type-var]
                        async for page in pages:
                            part.append(page)
                            done[index] = page.done
                            advance(len(page.rows))
                done[index] = 1.0
    await asyncio.to_thread(_complete, requests, parts, out)


def _complete(requests: Sequence[DownloadRequest], parts: Sequence[PartFile], out: Path) -> None:
    """The journals become the output, all symbols merged by time."""
    columns = TRADE_COLUMNS if requests[0].kind == "trades" else CANDLE_COLUMNS
    time_column = "time" if requests[0].kind == "trades" else "ts"
    merged = heapq.merge(*(part.rows() for part in parts), key=itemgetter(time_column))
    write_rows(out, columns, merged)
    for part in parts:
        part.remove()


def _part_path(out: Path, order: DownloadRequest) -> Path:
    symbol = order.symbol.replace("/", "-")
    return out.with_name(f".{out.name}.{symbol}.{order.kind}.part")


# --- simulate -----------------------------------------------------------------------------


class SimulateOptions(NamedTuple):
    """What the simulated exchange trades and how: a recording, or the generator where none."""

    file: Path | None
    script: Path | None
    port: int


async def simulate_exchange(
    settings: Settings, order: SimulateOptions, stop: asyncio.Event
) -> None:
    """Be an exchange on a loopback port until `stop` is set; prints how to reach it."""
    from volsvc.simulator import Script, Simulator, Steps, read_script

    script = read_script(order.script) if order.script else Script()
    tape = Steps(_market_ticks(settings, order.file), script.batch_ms)
    simulator = Simulator(tape, script, speed=settings.replay.speed, port=order.port)
    async with simulator:
        print(f"exchange at {simulator.ws_url} and {simulator.rest_url}", flush=True)
        print(
            f"volsvc run --source coinbase --ws-url {simulator.ws_url} "
            f"--rest-url {simulator.rest_url}",
            flush=True,
        )
        await simulator.serve(stop)
        log.info("stopped", steps=simulator.market.steps_played)


def _market_ticks(settings: Settings, file: Path | None) -> Iterator[Tick]:
    """Ticks of a recording, or generated ones; from now on unless `replay.clock` is original."""
    rows: Iterator[SourceRow]
    if file is None:
        source = settings.source
        spec = GeneratorSpec(source.symbols or DEFAULT_SYMBOLS, source.seed, time.time_ns())
        return (generated.tick for generated in Generator(spec).ticks())
    ticks = file_source(settings, file, PartsListener(Metrics(), Health())).ticks()
    rows = itertools.starmap(SourceRow, enumerate(ticks))
    start_ns = None if settings.replay.clock == "original" else time.time_ns()
    return (row.tick for row in shifted(rows, start_ns))
