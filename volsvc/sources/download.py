"""Download historical trades and candles of Coinbase, page by page, so that it can be resumed.

Pages start at trade ids or minutes, not at the venue's newest trade, so that every run requests the
same pages. Each page is a line of a part file beside the output; an incomplete last line is
requested again. Complete part files become the output.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from volsvc.domain import NS, SourceError, Tick, format_time
from volsvc.safe_io.disk import append_whole
from volsvc.sources.live.coinbase import PAGE_CANDLES, PAGE_TRADES, Coinbase
from volsvc.sources.live.rest import RestClient
from volsvc.sources.live.venue import Candle, TradeGap, parsed

# Attempts for one page before the download stops; with backoff about half a minute.
ATTEMPTS = 8
TRADE_COLUMNS = ("symbol", "time", "price", "size", "side", "trade_id")
CANDLE_COLUMNS = ("symbol", "ts", "open", "high", "low", "close", "volume")

Row = Mapping[str, Any]


class DownloadRequest(NamedTuple):
    """The `trades` or `candles` of a symbol from start, inclusive, to end, exclusive."""

    kind: str
    symbol: str
    start_ns: int
    end_ns: int


class Page(msgspec.Struct):
    """A page of rows, a line of a part file.

    `cursor` is the start of the next page, None after the last one; `done` is the progress from 0
    to 1.
    """

    rows: list[dict[str, Any]]
    cursor: int | None
    done: float


class PartFile:
    """The pages of one request that have arrived, on disk: a line for the request and each page.

    `cursor` is the start of the next page, None for the first one.
    """

    def __init__(self, path: Path, request: DownloadRequest) -> None:
        """Raises SourceError if the file is damaged or belongs to another request."""
        self._path = path
        self._request = request
        self._decoder = msgspec.json.Decoder(Page)
        self.cursor: int | None = None
        self.complete = False
        self._size = 0
        if not path.exists():
            return self._write_line(msgspec.json.encode(request))
        try:
            self._resume()
        except msgspec.MsgspecError as error:
            raise SourceError(f"{path}: is damaged; remove it") from error

    def _resume(self) -> None:
        """Find the end of the last whole line; the next write cuts off an incomplete one."""
        with self._path.open("rb") as file:
            head = file.readline()
            if not head.endswith(b"\n"):
                return self._write_line(msgspec.json.encode(self._request))
            if msgspec.json.decode(head) != list(self._request):
                raise SourceError(f"{self._path}: belongs to another download; remove it")
            self._size = file.tell()
            for line in file:
                if not line.endswith(b"\n"):
                    break
                page = self._decoder.decode(line)
                self.cursor, self.complete = page.cursor, page.cursor is None
                self._size += len(line)
        return None

    def append(self, page: Page) -> None:
        """Write a page."""
        self._write_line(msgspec.json.encode(page))
        self.cursor, self.complete = page.cursor, page.cursor is None

    def _write_line(self, line: bytes) -> None:
        try:
            with FileIO(self._path, "r+" if self._path.exists() else "x") as file:
                size = append_whole(file, self._size, line + b"\n")
        except OSError as error:
            raise SourceError(f"{self._path}: cannot be written: {error.strerror}") from error
        self._size = size

    def rows(self) -> Iterator[Row]:
        """Yield the rows of all pages in order of time."""
        with self._path.open("rb") as file:
            file.readline()
            for line in file:
                yield from self._decoder.decode(line).rows

    def remove(self) -> None:
        """Delete the file, once its rows are in the output."""
        self._path.unlink(missing_ok=True)


class Downloader:
    """Requests the pages of a download from the venue."""

    def __init__(self, venue: Coinbase, rest: RestClient) -> None:
        self._venue = venue
        self._rest = rest

    def pages(self, request: DownloadRequest, cursor: int | None) -> AsyncIterator[Page]:
        """Yield the pages from a cursor on, None for the first page; raises FeedError."""
        if request.kind == "candles":
            return self._candles(request, cursor)
        return self._trades(request, cursor)

    async def _candles(self, request: DownloadRequest, cursor: int | None) -> AsyncIterator[Page]:
        # Rounded up: a candle belongs to the download if its minute starts within it.
        first, end = (-(-ns // (60 * NS)) * 60 for ns in (request.start_ns, request.end_ns))
        start: int | None = first if cursor is None else cursor
        while start is not None:
            count = min(PAGE_CANDLES, (end - start) // 60)
            rows = await self._candle_rows(request.symbol, start, count) if count > 0 else []
            next_start = start + 60 * count
            start = next_start if count > 0 and next_start < end else None
            yield Page(rows, start, (next_start - first) / max(60, end - first))

    async def _candle_rows(self, symbol: str, start: int, count: int) -> list[dict[str, Any]]:
        body = await self._get(self._venue.candles_url(symbol, start, count))
        # The venue may return candles outside the range that was requested.
        return [
            {"symbol": symbol, "ts": format_time(candle.start_s * NS), **_without_start(candle)}
            for candle in parsed(self._venue.parse_candles, body)
            if start <= candle.start_s < start + 60 * count
        ]

    async def _trades(self, request: DownloadRequest, cursor: int | None) -> AsyncIterator[Page]:
        newest = await self._newest(request.symbol)
        last = (newest.trade_id or 0) if newest else 0
        start = await self._first_id(request, last) if cursor is None else cursor
        next_id: int | None = start
        while next_id is not None:
            found = await self._between(request.symbol, next_id, next_id + PAGE_TRADES - 1)
            inside = [t for t in found if request.start_ns <= t.time_ns < request.end_ns]
            at_end = any(t.time_ns >= request.end_ns for t in found)
            over = at_end or next_id + PAGE_TRADES > last
            next_id = None if over else next_id + PAGE_TRADES
            reached = found[-1].time_ns - request.start_ns if found else 0
            done = 1.0 if over else min(1.0, reached / (request.end_ns - request.start_ns))
            yield Page([_trade_row(tick) for tick in inside], next_id, done)

    async def _first_id(self, request: DownloadRequest, last: int) -> int:
        """Return the first trade id at or after the start."""
        # By bisection, because ids rise with time.
        low, high = 1, last + 1
        while low < high:
            middle = (low + high) // 2
            trade = await self._at_or_before(request.symbol, middle)
            if trade is not None and trade.time_ns >= request.start_ns:
                high = middle
            else:
                low = middle + 1
        return low

    async def _newest(self, symbol: str) -> Tick | None:
        trades = await self._trades_of(symbol, self._venue.newest_url(symbol))
        return trades[-1] if trades else None

    async def _at_or_before(self, symbol: str, trade_id: int) -> Tick | None:
        # One trade below the next id: the trade itself, or the one before it if it is missing.
        url = self._venue.trades_url(TradeGap(symbol, trade_id, trade_id, 0))
        trades = await self._trades_of(symbol, url)
        return trades[-1] if trades else None

    async def _between(self, symbol: str, first: int, last: int) -> list[Tick]:
        url = self._venue.trades_url(TradeGap(symbol, first, last, 0))
        trades = await self._trades_of(symbol, url)
        return [t for t in trades if first <= (t.trade_id or 0) <= last]

    async def _trades_of(self, symbol: str, url: str) -> list[Tick]:
        return parsed(self._venue.parse_trades, symbol, await self._get(url))

    async def _get(self, path: str) -> bytes:
        return await self._rest.get(path, ATTEMPTS)


def _without_start(candle: Candle) -> dict[str, float]:
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
