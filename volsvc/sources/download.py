"""Historical trades and candles of Coinbase, page by page, so that a stopped download goes on.

Pages go by trade id or by minute and not by what the venue holds newest, so that every run asks
for the same pages. Each page is a line of a journal beside the output; a torn last line is asked
for again. When the journal is whole it becomes the output.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from volsvc.domain import NS, SourceError, Tick, format_time
from volsvc.sources.live.coinbase import PAGE_CANDLES, PAGE_TRADES, Coinbase
from volsvc.sources.live.rest import RestClient
from volsvc.sources.live.venue import TradeGap

# Attempts at one page before the download stops; with backoff that is about half a minute.
ATTEMPTS = 8
TRADE_COLUMNS = ("symbol", "time", "price", "size", "side", "trade_id")
CANDLE_COLUMNS = ("symbol", "ts", "open", "high", "low", "close", "volume")

Row = Mapping[str, Any]


class DownloadRequest(NamedTuple):
    """What to download: `trades` or `candles` of a symbol, from start up to end."""

    kind: str
    symbol: str
    start_ns: int
    end_ns: int


class Page(msgspec.Struct):
    """Rows, where the next page begins (None: this is the last), and how far that is, 0 to 1."""

    rows: list[dict[str, Any]]
    cursor: int | None
    done: float


class PartFile:
    """The pages of one order that have arrived, on disk."""

    def __init__(self, path: Path, request: DownloadRequest) -> None:
        """Raises SourceError for a journal of another order."""
        self._path = path
        self._order = request
        self._pages = msgspec.json.Decoder(Page)
        self.cursor: int | None = None
        self.complete = False
        self._size = 0
        if not path.exists():
            return self._write(msgspec.json.encode(request))
        try:
            self._take_up()
        except msgspec.MsgspecError as error:
            raise SourceError(f"{path}: is damaged; remove it") from error

    def _take_up(self) -> None:
        """Find where to go on; what a kill tore off at the end is cut off."""
        with self._path.open("rb") as file:
            head = file.readline()
            if not head.endswith(b"\n"):
                return self._write(msgspec.json.encode(self._order))
            if msgspec.json.decode(head) != list(self._order):
                raise SourceError(f"{self._path}: is an unfinished other download; remove it")
            self._size = file.tell()
            for line in file:
                if not line.endswith(b"\n"):
                    break
                page = self._pages.decode(line)
                self.cursor, self.complete = page.cursor, page.cursor is None
                self._size += len(line)
        return None

    def append(self, page: Page) -> None:
        """Keep a page."""
        self._write(msgspec.json.encode(page))
        self.cursor, self.complete = page.cursor, page.cursor is None

    def _write(self, line: bytes) -> None:
        try:
            with self._path.open("r+b" if self._path.exists() else "xb") as file:
                file.truncate(self._size)
                file.seek(self._size)
                file.write(line + b"\n")
                self._size = file.tell()
        except OSError as error:
            raise SourceError(f"{self._path}: cannot be written: {error.strerror}") from error

    def rows(self) -> Iterator[Row]:
        """The rows of all pages, in order of time."""
        with self._path.open("rb") as file:
            file.readline()
            for line in file:
                yield from self._pages.decode(line).rows

    def remove(self) -> None:
        """The output has it all."""
        self._path.unlink(missing_ok=True)


class Downloader:
    """Asks the venue for the pages of an order."""

    def __init__(self, venue: Coinbase, rest: RestClient) -> None:
        self._venue = venue
        self._rest = rest

    def pages(self, request: DownloadRequest, cursor: int | None) -> AsyncIterator[Page]:
        """The pages from a cursor on; None begins at the start. Raises FeedError."""
        if request.kind == "candles":
            return self._candles(request, cursor)
        return self._trades(request, cursor)

    async def _candles(self, request: DownloadRequest, cursor: int | None) -> AsyncIterator[Page]:
        first, end = (-(-ns // (60 * NS)) * 60 for ns in (request.start_ns, request.end_ns))
        start: int | None = first if cursor is None else cursor
        while start is not None:
            count = min(PAGE_CANDLES, (end - start) // 60)
            rows = await self._candle_rows(request.symbol, start, count) if count > 0 else []
            following = start + 60 * count
            start = following if count > 0 and following < end else None
            yield Page(rows, start, (following - first) / max(60, end - first))

    async def _candle_rows(self, symbol: str, start: int, count: int) -> list[dict[str, Any]]:
        body = await self._get(self._venue.candles_url(symbol, start, count))
        return [
            {"symbol": symbol, "ts": format_time(candle.start_s * NS), **_without_start(candle)}
            for candle in self._venue.parse_candles(body)
            if start <= candle.start_s < start + 60 * count
        ]

    async def _trades(self, request: DownloadRequest, cursor: int | None) -> AsyncIterator[Page]:
        newest = await self._newest(request.symbol)
        last = (newest.trade_id or 0) if newest else 0
        start = await self._first_id(request, last) if cursor is None else cursor
        following: int | None = start
        while following is not None:
            found = await self._between(request.symbol, following, following + PAGE_TRADES - 1)
            inside = [t for t in found if request.start_ns <= t.time_ns < request.end_ns]
            over = any(t.time_ns >= request.end_ns for t in found) or following + PAGE_TRADES > last
            following = None if over else following + PAGE_TRADES
            reached = found[-1].time_ns - request.start_ns if found else 0
            done = 1.0 if over else min(1.0, reached / (request.end_ns - request.start_ns))
            yield Page([_trade_row(tick) for tick in inside], following, done)

    async def _first_id(self, request: DownloadRequest, last: int) -> int:
        """The first id at or after the start, by bisection: ids rise with time."""
        low, high = 1, last + 1
        while low < high:
            middle = (low + high) // 2
            at = await self._at_or_before(request.symbol, middle)
            if at is not None and at.time_ns >= request.start_ns:
                high = middle
            else:
                low = middle + 1
        return low

    async def _newest(self, symbol: str) -> Tick | None:
        trades = self._venue.parse_trades(symbol, await self._get(self._venue.newest_url(symbol)))
        return trades[-1] if trades else None

    async def _at_or_before(self, symbol: str, trade_id: int) -> Tick | None:
        url = self._venue.trades_url(TradeGap(symbol, trade_id, trade_id, 0))
        trades = self._venue.parse_trades(symbol, await self._get(url))
        return trades[-1] if trades else None

    async def _between(self, symbol: str, first: int, last: int) -> list[Tick]:
        url = self._venue.trades_url(TradeGap(symbol, first, last, 0))
        trades = self._venue.parse_trades(symbol, await self._get(url))
        return [t for t in trades if first <= (t.trade_id or 0) <= last]

    async def _get(self, path: str) -> bytes:
        return await self._rest.get(path, ATTEMPTS)


def _without_start(candle: Any) -> dict[str, float]:
    return {name: value for name, value in candle._asdict().items() if name != "start_s"}


def _trade_row(tick: Tick) -> dict[str, Any]:
    return {
        "symbol": tick.symbol,
        "time": format_time(tick.time_ns),
        "price": tick.price,
        "size": tick.size,
        "side": tick.side,
        "trade_id": tick.trade_id,
    }
