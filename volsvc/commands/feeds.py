"""`volsvc record`, `download` and `simulate`: the commands around live feeds."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

from volsvc.commands.arguments import time_argument
from volsvc.commands.progress import progress_bar
from volsvc.commands.row_writer import write_rows
from volsvc.config.settings import Settings, SettingsError
from volsvc.daemon.feed_listener import FeedListener
from volsvc.daemon.listeners import PartsListener
from volsvc.domain import SourceError, SourceRow, Tick, parse_time
from volsvc.sources.download import (
    CANDLE_COLUMNS,
    TRADE_COLUMNS,
    Downloader,
    DownloadRequest,
    PartFile,
    Row,
)
from volsvc.sources.factory import DEFAULT_SYMBOLS, file_source, live_source
from volsvc.sources.generated_past import past_bars
from volsvc.sources.generator import Generator, GeneratorSpec
from volsvc.sources.live.coinbase import Coinbase
from volsvc.sources.live.rest import rest_client
from volsvc.sources.recorder import Recorder, RotationLimits
from volsvc.sources.recordings.tables.formats import file_format
from volsvc.sources.replay import shifted
from volsvc.telemetry.health import Health
from volsvc.telemetry.logs import get_logger
from volsvc.telemetry.metrics import Metrics

# A kill loses at most this much of a recording.
FLUSH_S = 1.0
# With more rows than this waiting for a slow disk, reading from the venue pauses.
MAX_PENDING_ROWS = 100_000

log = get_logger(__name__)


# --- record -------------------------------------------------------------------------------


class RecordOptions(NamedTuple):
    """Options of `volsvc record`; `minutes` is None to record until stopped."""

    out: Path
    minutes: float | None
    limits: RotationLimits


async def record_feed(settings: Settings, options: RecordOptions, stop: asyncio.Event) -> None:
    """Write a venue's live ticks to files until `stop` is set or `minutes` have passed."""
    source = live_source(settings.source, FeedListener(Metrics(), Health()))
    recorder = Recorder(options.out, options.limits)
    seconds = options.minutes * 60 if options.minutes else None
    started = time.monotonic()

    def fraction() -> float:
        return min(1.0, (time.monotonic() - started) / seconds) if seconds else 0.0

    buffer = _RecordingBuffer(recorder)
    with progress_bar(f"recording to {options.out.name}", fraction) as advance:
        # No row counts as published already: a recording has no position to resume from.
        parts = [_read(source.batches(lambda row: False), buffer, advance), buffer.run()]
        await _run_until(stop, seconds, parts)
        await buffer.flush()
        recorder.close()
    log.info("recorded", files=[str(path) for path in recorder.files], rows=buffer.rows)


async def _run_until(
    stop: asyncio.Event, seconds: float | None, parts: Sequence[Coroutine[Any, Any, None]]
) -> None:
    """Run the parts for `seconds` or until `stop` is set; raises the error of a part that fails."""
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
    buffer: _RecordingBuffer,
    advance: Callable[[int], None],
) -> None:
    # Closed at once, not by the garbage collector: the source's connection ends with it.
    async with aclosing(batches):  # type: ignore[type-var]
        async for batch in batches:
            await buffer.add(batch)
            advance(len(batch))


class _RecordingBuffer:
    """Rows waiting to be written to disk, in a thread, because the disk may be slow."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._pending: list[SourceRow] = []
        self._lock = asyncio.Lock()
        self.rows = 0

    async def add(self, rows: Sequence[SourceRow]) -> None:
        self._pending += rows
        self.rows += len(rows)
        if len(self._pending) > MAX_PENDING_ROWS:
            await self.flush()

    async def run(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            await self.flush()

    async def flush(self) -> None:
        # Shielded: a cancellation does not stop the thread, and its rows must not be written again.
        await asyncio.shield(self._write())

    async def _write(self) -> None:
        # One writer at a time: rows keep their order.
        async with self._lock:
            rows, self._pending = self._pending, []
            await asyncio.to_thread(self._recorder.write, rows)


# --- download -----------------------------------------------------------------------------


class DownloadOptions(NamedTuple):
    """Options of `volsvc download`; `kind` is trades or candles, the times are RFC 3339."""

    kind: str
    symbols: tuple[str, ...]
    start: str
    end: str
    out: Path


async def download_history(
    settings: Settings, options: DownloadOptions, stop: asyncio.Event
) -> None:
    """Download trades or candles until they are complete or `stop` is set; can be resumed.

    Raises SourceError if it is stopped early.
    """
    requests = _requests(options)
    # Checked before the download, which can take hours, rather than when the output is written.
    file_format(options.out)
    if not options.out.parent.is_dir():
        raise SourceError(f"{options.out}: there is no folder {options.out.parent}")
    work = asyncio.create_task(_download(settings, requests, options.out))
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not work.done():
        work.cancel()
        await asyncio.wait({work})
        raise SourceError(f"{options.out}: not complete; run the same command again to resume")
    work.result()


def _requests(options: DownloadOptions) -> list[DownloadRequest]:
    """Return one request for each symbol; raises SettingsError if an option is not valid."""
    start_ns = time_argument("--start", options.start)
    end_ns = time_argument("--end", options.end)
    try:
        symbols = [Coinbase().symbol(name) for name in options.symbols or DEFAULT_SYMBOLS]
    except SourceError as error:
        raise SettingsError(f"--symbols: {error}") from error
    if not start_ns < end_ns <= time.time_ns():
        raise SettingsError(f"--end: {options.end!r} must be after --start and not in the future")
    return [
        DownloadRequest(options.kind, symbol, start_ns, end_ns) for symbol in dict.fromkeys(symbols)
    ]


async def _download(settings: Settings, requests: Sequence[DownloadRequest], out: Path) -> None:
    """Fetch the missing pages of every request into its part file, then write the output."""
    base = settings.source.rest_url or Coinbase.rest_url
    parts = [PartFile(_part_path(out, request), request) for request in requests]
    async with rest_client(base, settings.source.rest_per_s) as client:
        downloader = Downloader(Coinbase(), client)
        done = [0.0] * len(requests)
        with progress_bar(f"downloading {out.name}", lambda: sum(done) / len(done)) as advance:
            for index, (request, part) in enumerate(zip(requests, parts, strict=True)):
                if not part.complete:
                    pages = downloader.pages(request, part.cursor)
                    async with aclosing(pages):  # type: ignore[type-var]
                        async for page in pages:
                            part.append(page)
                            done[index] = page.done
                            advance(len(page.rows))
                done[index] = 1.0
    stopped = threading.Event()
    try:
        await asyncio.to_thread(_complete, requests, parts, out, stopped)
    finally:
        # A cancellation does not end the thread, which would finish hours of trades first.
        stopped.set()


def _complete(
    requests: Sequence[DownloadRequest],
    parts: Sequence[PartFile],
    out: Path,
    stopped: threading.Event,
) -> None:
    """Merge the part files by time into the output, then remove them.

    Raises SourceError, and leaves everything as it was, once `stopped` is set.
    """
    columns = TRADE_COLUMNS if requests[0].kind == "trades" else CANDLE_COLUMNS
    time_column = "time" if requests[0].kind == "trades" else "ts"

    def time_ns(row: Row) -> int:
        # Not the text: times have 3, 6 or 9 decimals.
        return parse_time(row[time_column])

    def rows() -> Iterator[list[Any]]:
        for row in heapq.merge(*(part.rows() for part in parts), key=time_ns):
            if stopped.is_set():
                raise SourceError(f"{out}: is not complete")
            yield [row[column] for column in columns]

    write_rows(out, columns, rows())
    for part in parts:
        part.remove()


def _part_path(out: Path, request: DownloadRequest) -> Path:
    symbol = request.symbol.replace("/", "-")
    return out.with_name(f".{out.name}.{symbol}.{request.kind}.part")


# --- simulate -----------------------------------------------------------------------------


class SimulateOptions(NamedTuple):
    """Options of `volsvc simulate`; without a `file` the generator makes the ticks."""

    file: Path | None
    script: Path | None
    port: int


async def simulate_exchange(
    settings: Settings, options: SimulateOptions, stop: asyncio.Event
) -> None:
    """Run a simulated exchange on a loopback port until `stop` is set; prints its addresses."""
    from volsvc.simulator import Script, Simulator, Steps, read_script

    script = read_script(options.script) if options.script else Script()
    if options.file is None:
        source = settings.source
        spec = GeneratorSpec(source.symbols or DEFAULT_SYMBOLS, source.seed, time.time_ns())
        ticks = (generated.tick for generated in Generator(spec).ticks())
        days = settings.warmup.days
        bars = {symbol: past_bars(symbol, spec, days) for symbol in spec.symbols}
        steps = Steps(ticks, script.batch_ms, bars=bars)
    else:
        steps = Steps(_recorded_ticks(settings, options.file), script.batch_ms)
    simulator = Simulator(steps, script, speed=settings.replay.speed, port=options.port)
    async with simulator:
        print(f"exchange at {simulator.ws_url} and {simulator.rest_url}", flush=True)
        print(
            f"volsvc run --source coinbase --ws-url {simulator.ws_url} "
            f"--rest-url {simulator.rest_url}",
            flush=True,
        )
        await simulator.serve(stop)
        log.info("stopped", steps=simulator.playback.steps_played)


def _recorded_ticks(settings: Settings, file: Path) -> Iterator[Tick]:
    """Return the ticks of a recording, shifted to begin now unless the clock is `original`."""
    ticks = file_source(settings, [file], PartsListener(Metrics(), Health())).ticks()
    rows = itertools.starmap(SourceRow, enumerate(ticks))
    start_ns = None if settings.replay.clock == "original" else time.time_ns()
    return (row.tick for row in shifted(rows, start_ns) if row is not None)
