"""The symbol in a file's name, as venues and programs name their files."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Final

from volsvc.domain import is_symbol
from volsvc.sources.recordings.tables.options import RowOptions
from volsvc.telemetry.logs import get_logger

log = get_logger(__name__)

_QUOTES: Final = (
    "USDT|USDC|FDUSD|BUSD|TUSD|PYUSD|USD|EUR|GBP|JPY|KRW|TRY|BRL|AUD|CAD|CHF|BTC|XBT|ETH|BNB|DAI"
)
_BASE: Final = "[A-Z0-9]{2,15}"
# A name of a pair stands alone between other parts, which letters and digits are not.
_ALONE: Final = r"(?<![A-Za-z0-9])(?:{})(?![A-Za-z0-9])"
# BTC-USD, BTC-USDT-SWAP.
_DASHED = re.compile(_ALONE.format(rf"{_BASE}-(?:{_QUOTES})(?:-(?:SWAP|PERP|PERPETUAL))?"))
# freqtrade's BTC_USDT-1m and, for futures, BTC_USDT_USDT-1m-futures.
_FREQTRADE = re.compile(rf"({_BASE})_({_QUOTES})(?:_({_QUOTES}))?(?=-)")
# Binance's BTCUSDT-1m-2025-01, Kraken's XBTUSD.
_JOINED = re.compile(_ALONE.format(rf"{_BASE}?(?:{_QUOTES})"))


# btcusdt and btc-usd; other quotes are the ends of words, as in country.
_LOWER: Final = re.compile(_ALONE.format(r"[a-z0-9]{2,15}-?(?:usdt|usdc|usd)"))
_NUMBERS: Final = re.compile(r"[\W_]*\d+(?!\d|(?:s|m|h|d|w|min)(?![A-Za-z0-9]))[\W_]*")


def pair_in_name(name: str) -> str | None:
    """Return the pair of assets in a file's name, as it is written there; None without one.

    freqtrade's names become BTC-USDT and, for futures, BTC-USDT:USDT.
    """
    if freqtrade := _FREQTRADE.match(name):
        base, quote, settled = freqtrade.groups()
        return f"{base}-{quote}:{settled}" if settled else f"{base}-{quote}"
    found = _DASHED.search(name) or _JOINED.search(name)
    if found is None and (found := _LOWER.search(name)):
        return found[0].upper()
    return found[0] if found else None


def symbol_of_name(path: Path) -> str | None:
    """Return the pair in a file's name, or else the name; None if it can be no symbol."""
    name = pair_of_path(path) or path.name.split(".")[0]
    return name if is_symbol(name) else None


def pair_of_path(path: Path) -> str | None:
    """Return the pair in the name of a file, or else of its folder; None without one."""
    return pair_in_name(path.name) or pair_in_name(path.parent.name)


def named_options(path: Path, options: RowOptions) -> RowOptions:
    """Return options with the symbol of a file's name, unless they have one."""
    is_of_pair = pair_in_name(path.name) is not None
    if options.symbol is not None:
        return replace(options, is_of_pair=is_of_pair)
    return replace(options, symbol=symbol_of_name(path), is_named=True, is_of_pair=is_of_pair)


def warn_of_name(path: Path, symbol: str | None) -> None:
    """Warn if a symbol is the name of a file that has no pair of assets, hardly meant as one."""
    if symbol is not None and symbol == symbol_of_name(path) and pair_of_path(path) is None:
        log.warning(
            "file_name_as_symbol",
            file=str(path),
            symbol=symbol,
            remedy="name it with --symbol or source.default_symbol",
        )


def name_without_digits(path: Path) -> str:
    """Return what the names of a recording's files have in common, which are told by numbers.

    The length of bars, such as 5m, is no such number. Folders may have dates too.
    """
    names = (path.parent.name, path.name.split(".")[0])
    return "/".join(_NUMBERS.sub("-", name).strip("-_") for name in names).strip("/")
