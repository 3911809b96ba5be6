"""The columns of bars: the names under which venues and programs write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from volsvc.domain.records import ALIASES, plain_name, some_names
from volsvc.domain.texts import one_line

PRICES: Final = ("open", "high", "low", "close")
# Accepted names of each field, the preferred one first. Case and marks between words do not matter.
BAR_ALIASES: Final[Mapping[str, tuple[str, ...]]] = {
    # The start of a bar comes before any other time of it.
    "time": (
        "open_time",
        "start",
        "start_at",
        "start_time",
        "time_period_start",
        "window_start",
        "candle_begin_time",
        *(name for name in ALIASES["time"] if name != "ts"),
        "ts",
        "t",
    ),
    "date": ALIASES["date"],
    "symbol": ALIASES["symbol"],
    "exchange": ALIASES["exchange"],
    "base": ALIASES["base"],
    "quote": ALIASES["quote"],
    # The length of a bar, which has to be a minute or less.
    "interval": ("interval", "timeframe", "resolution"),
    "open": ("open", "o", "price_open", "open_price"),
    "high": ("high", "h", "price_high", "high_price"),
    "low": ("low", "l", "price_low", "low_price"),
    "close": ("close", "c", "price_close", "close_price", "latest"),
    "volume": ("volume", "vol", "v", "volume_traded", "base_volume", "qty", "amount"),
}
_NEEDED: Final = ("time", *PRICES, "volume")
# Columns of a ticker, which has the day's range beside the last price, and is no bar.
_OF_TICKERS: Final = frozenset(
    plain_name(name)
    for field in ("price", "best_bid", "best_ask")
    for name in ALIASES[field]
    if name != "price"
)


def are_bars(names: Sequence[str]) -> bool:
    """Return True if columns with these names hold bars."""
    fields = bar_columns_of(names).keys()
    if not fields >= {*PRICES}:
        return False
    known = set(map(plain_name, names))
    return known.isdisjoint(_OF_TICKERS)


def bar_columns_of(names: Sequence[str]) -> Mapping[str, str]:
    """Return the name that holds each field of a bar."""
    known: dict[str, str] = {}
    for name in names:
        known.setdefault(plain_name(name), name)
    found: dict[str, str] = {}
    for field, aliases in BAR_ALIASES.items():
        plain = map(plain_name, aliases)
        held = next((known[alias] for alias in plain if alias in known), None)
        # One column is not both a time and its day.
        if held is not None and not (field == "date" and held == found.get("time")):
            found[field] = held
    if "volume" not in found:
        # Volume BTC beside Volume USD, Volume_(BTC) beside Volume_(Currency).
        of_base = next((name for key, name in known.items() if key.startswith("volume")), None)
        if of_base is not None:
            found["volume"] = of_base
    return found


def missing_bar_column(names: Sequence[str], symbol: str | None) -> str:
    """Return what is wrong if bars lack a column; an empty text if they do not."""
    found = bar_columns_of(names)
    lacking = [field for field in _NEEDED if field not in found]
    if not symbol and "symbol" not in found and not {"base", "quote"} <= found.keys():
        lacking.append("symbol")
    if not lacking:
        return ""
    field = lacking[0]
    held = one_line(", ".join(name.strip() for name in names), 200) or "none"
    accepted = some_names(BAR_ALIASES[field])
    hint = "; or name one with source.default_symbol" if field == "symbol" else ""
    return f"bars need the column {field!r} (accepted names: {accepted}; found: {held}){hint}"
