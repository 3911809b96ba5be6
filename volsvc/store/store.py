"""The store of a daemon: what it knows after a restart, written behind the event loop's back."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from volsvc.backoff import Backoff
from volsvc.failpoints import failpoint
from volsvc.store.database import DamagedStoreError, open_database, put_aside
from volsvc.store.event_table import MOST_EVENTS, KeptEvent, write_events
from volsvc.store.kept_log import KeptLog
from volsvc.store.minute_table import Minutes, MinuteTable
from volsvc.store.reader import StoreReader
from volsvc.store.retention import Retention, reclaim, size_of
from volsvc.telemetry.health import Status
from volsvc.telemetry.logs import get_logger
from volsvc.transport import OutRecord
from volsvc.transport.memory import KeptPosition

# From one write to the next: a kill makes the next start repeat this much work.
WRITE_EVERY_S: Final = 0.8
# Old rows are packed and deleted this often, and at each write while there are many.
TIDY_EVERY_S: Final = 20.0
# Other feeds are not old before: a clock that is wrong when a machine starts is set right by then.
CLOCK_SET_S: Final = 3_600.0
# A write that takes longer shows in health; nothing is given up.
SLOW_S: Final = 10.0
# Waits between attempts to write, until the disk takes it again.
RETRY_S, LONGEST_RETRY_S = 0.2, 5.0

# Rows of minutes that wait for the disk: an hour and a half of a thousand symbols, 20 MB.
MOST_WAITING: Final = 100_000
# Those at which whoever can wait does so; a slice more may come to wait.
ROOM: Final = 20_000

log = get_logger(__name__)


class StoreEvents(Protocol):
    """Receives what happens to a store, for health and metrics."""

    def store(self, status: Status, detail: str) -> None:
        """Report whether what is to be kept can be written."""
        ...

    def stored(self, seconds: float, records: int) -> None:
        """Report a transaction that was written."""
        ...

    def store_size(self, size_bytes: int) -> None:
        """Report the bytes that the file holds."""
        ...

    def minutes_lost(self, rows: int) -> None:
        """Count rows of minutes for which the disk had no room for too long."""
        ...

    def not_stored(self) -> None:
        """Count an attempt to write that failed; it will be made again."""
        ...


class Feed(NamedTuple):
    """The market whose states are kept, by name.

    `partitions` is their number in a log that is new. With `fresh` the log is a new one.
    """

    name: str
    partitions: int
    fresh: bool = False


@dataclass(slots=True)
class Batch:
    """The contents of one transaction: newest records by key, positions, minutes, events."""

    records: dict[bytes, OutRecord] = field(default_factory=dict)
    positions: dict[int, KeptPosition] = field(default_factory=dict)
    minutes: list[Minutes] = field(default_factory=list)
    events: list[KeptEvent] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.records or self.positions or self.minutes or self.events)

    @property
    def rows(self) -> int:
        """The number of rows of minutes."""
        return sum(len(part.rows) for part in self.minutes)

    def add(self, later: Batch) -> None:
        """Add what came later."""
        self.records |= later.records
        self.positions |= later.positions
        self.minutes += later.minutes
        self.events = [*self.events, *later.events][-MOST_EVENTS:]


class Store:
    """Keeps the log of an in-process bus: committed positions, with the states at them.

    On Kafka, where the log keeps states, it has minutes alone, and how far they were read.

    What is published since the last commit is held back until the next one, and positions and
    states are written in one transaction. So after a kill the states are those at the positions.

    Implements `Keeper` of the bus. Its methods are for the event loop; the database is used by one
    thread.
    """

    def __init__(
        self,
        path: Path,
        feed: Feed,
        kept_topic: str,
        retention: Retention,
        events: StoreEvents,
    ) -> None:
        """Open or create the file, and read what it holds of a feed.

        Of `kept_topic` the newest record of each key is kept. A damaged file is put aside, and a
        new one begins with what could be read of it. Raises StoreError.
        """
        self._events = events
        self._retention = retention
        # When rows are packed and deleted next, on the monotonic clock.
        self._tidy_at = 0.0
        self._clock_set_at = time.monotonic() + CLOCK_SET_S
        self._kept_topic = kept_topic
        # What the bus starts with.
        self.positions: Mapping[int, KeptPosition] = {}
        self.records: list[OutRecord] = []
        # Published since the last commit; committed and not written yet.
        self._published, self._ready = Batch(), Batch()
        self._writing = Batch()
        self._wake = asyncio.Event()
        self._written = asyncio.Event()
        self._stop = asyncio.Event()
        # What is damaged, in the order in which it was found.
        self._damages: list[str] = []
        try:
            self._open(path, feed)
            self._read()
        except (DamagedStoreError, sqlite3.DatabaseError) as error:
            aside = put_aside(path)
            read = len(self.records)
            # Without a traceback, which would tell an operator nothing more.
            log.error("store_damaged", error=str(error), aside=str(aside), read=read)  # noqa: TRY400
            self._damages.append(f"was damaged ({error}) and is kept as {aside.name}")
            self._open(path, feed)
            self._ready = Batch({one.key: one for one in self.records}, dict(self.positions))
            self._wake.set()
        # For whoever asks about the past.
        self.reader = StoreReader(path, self._feed, self._found_damage)
        self._thread = ThreadPoolExecutor(1, "store")
        self._report()
        if self.records:
            log.info("remembered", feed=feed.name, symbols=len(self.records))

    def _open(self, path: Path, feed: Feed) -> None:
        self._connection = open_database(path)
        try:
            self._connection.execute(
                "INSERT INTO feed (name, partitions, used_ns) VALUES (?, ?, 0) "
                "ON CONFLICT (name) DO NOTHING",
                (feed.name, feed.partitions),
            )
            query = "SELECT id, partitions FROM feed WHERE name = ?"
            self._feed, self.partitions = self._connection.execute(query, (feed.name,)).fetchone()
            self._note_use()
            self._log = KeptLog(self._connection, self._feed)
            if feed.fresh:
                self._log.clear()
            self._minutes = MinuteTable(self._connection, self._feed)
        except sqlite3.DatabaseError:
            self._connection.close()
            raise

    def _read(self) -> None:
        faults = []
        try:
            self.positions = self._log.positions()
            for record in self._log.records():
                if isinstance(record, str):
                    faults.append(record)
                else:
                    self.records.append(record)
        except sqlite3.DatabaseError:
            self._connection.close()
            raise
        if faults:
            # Its next ticks begin the state anew.
            log.error("states_damaged", symbols=len(faults), error=faults[0])
            self._damages.append(f"{len(faults)} symbols start anew: {faults[0]}")

    def _found_damage(self, text: str) -> None:
        """Note what a question has come upon, once: answers are without it from now on."""
        if text not in self._damages:
            log.error("store_damaged", error=text)
            self._damages.append(text)
            self._report()

    def _report(self) -> None:
        """Report the state of the store while it can be written."""
        more = len(self._damages) - 1
        others = f", and {more} others; see store_damaged in the log" if more > 0 else ""
        detail = f"{self._damages[0]}{others}" if self._damages else ""
        self._events.store("degraded" if detail else "ok", detail)

    # --- what the bus keeps ---------------------------------------------------------------

    def keep(self, topic: str, records: Sequence[OutRecord]) -> None:
        """Take records that were published; they are kept from the next commit on."""
        if topic == self._kept_topic:
            for record in records:
                self._published.records[record.key] = record

    def commit(self, positions: Mapping[int, KeptPosition]) -> None:
        """Take the positions at which the newest records of all keys are."""
        self._published.positions |= positions
        self._ready.add(self._published)
        self._published = Batch()
        self._wake.set()

    def keep_minutes(self, minutes: Minutes) -> None:
        """Take minutes that have ended; they are kept from the next commit on."""
        self._published.minutes.append(minutes)

    def keep_event(self, event: KeptEvent, *, at_once: bool) -> None:
        """Take an event, which is kept from the next commit on, or at once.

        One that ticks have shown waits for their commit: after a crash they show it again.
        """
        if at_once:
            self._ready.add(Batch(events=[event]))
            self._wake.set()
        else:
            self._published.events.append(event)

    async def room(self) -> None:
        """Wait while many minutes that were committed are not written yet."""
        while not self._stop.is_set() and self._ready.rows + self._writing.rows > ROOM:
            self._written.clear()
            await self._written.wait()

    # --- writing --------------------------------------------------------------------------

    async def run(self) -> None:
        """Write what is committed, about once a second, until `close`; then close the file."""
        backoff = Backoff(RETRY_S, LONGEST_RETRY_S)
        try:
            while not self._stop.is_set():
                await self._wake.wait()
                self._wake.clear()
                if await self._write_ready():
                    backoff.reset()
                    await self._pause(WRITE_EVERY_S)
                else:
                    self._wake.set()
                    await self._pause(backoff.delay_s())
            if not await self._write_ready():
                log.error("not_remembered", symbols=len(self._ready.records))
            # Moves the write-ahead log into the file.
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._thread, self._connection.close)
        finally:
            self.reader.close()
            self._thread.submit(self._connection.close)
            self._thread.shutdown(wait=False)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()

    def close(self) -> None:
        """Have `run` write what is left, and end."""
        self._stop.set()
        self._written.set()
        self._wake.set()

    async def _write_ready(self) -> bool:
        """Write what is ready; return False if the disk did not take it, which is kept then."""
        batch, self._ready = self._ready, Batch()
        self._writing = batch
        if not batch:
            return True
        loop = asyncio.get_running_loop()
        slow = loop.call_later(SLOW_S, self._events.store, "degraded", "a write takes long")
        try:
            seconds = await loop.run_in_executor(self._thread, self._write, batch)
        except (sqlite3.Error, OSError) as error:
            # Later records of the same symbols replace those of the batch.
            batch.add(self._ready)
            self._ready = batch
            self._drop_oldest_minutes()
            self._events.not_stored()
            self._events.store("degraded", f"nothing is kept: {error}")
            return False
        finally:
            self._writing = Batch()
            slow.cancel()
        self._written.set()
        self._events.stored(seconds, len(batch.records))
        self._report()
        return True

    def _drop_oldest_minutes(self) -> None:
        """Bound what waits for the disk: states replace each other, minutes add up."""
        minutes, waiting, lost = self._ready.minutes, self._ready.rows, 0
        while waiting - lost > MOST_WAITING:
            lost += len(minutes.pop(0).rows)
        if lost:
            self._events.minutes_lost(lost)

    def _write(self, batch: Batch) -> float:
        """Write a batch in one transaction, and return how long it took in seconds."""
        started = time.monotonic()
        with self._transaction():
            self._log.write([*batch.records.values()], batch.positions)
            self._minutes.write(*batch.minutes)
            write_events(self._connection, self._feed, batch.events)
            self._tidy_up()
            failpoint("store_written")
        failpoint("store_committed")
        return time.monotonic() - started

    def _tidy_up(self) -> None:
        """Make blocks of rows, and delete what is too old, if it is time for that."""
        now = time.monotonic()
        if now < self._tidy_at:
            return
        more = self._minutes.pack_some()
        self._note_use()
        now_ns = time.time_ns() if now >= self._clock_set_at else 0
        bounds = self._retention, self._feed, self._minutes.newest, now_ns
        more = reclaim(self._connection, *bounds) or more
        self._tidy_at = now + (0 if more else TIDY_EVERY_S)
        self._events.store_size(size_of(self._connection))

    def _note_use(self) -> None:
        """Note that the feed is in use, not before any other, even if the clock went back."""
        self._connection.execute(
            "UPDATE feed SET used_ns = max(?, (SELECT max(used_ns) FROM feed)) WHERE id = ?",
            (time.time_ns(), self._feed),
        )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """Write all of a block, or nothing of it."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            # What these know of the file has not been written.
            self._log.start_over()
            self._minutes = MinuteTable(self._connection, self._feed)
            raise
