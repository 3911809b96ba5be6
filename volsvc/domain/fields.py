"""Values of the fields of a tick, each from what a file or a feed holds for it.

A value that a tick needs raises InvalidTickError if it is not valid; one that it can do without is
None then, so that it never costs the tick.
"""

from __future__ import annotations

import hashlib
import math
import re

from volsvc.domain.errors import InvalidTickError
from volsvc.domain.numbers import float_of
from volsvc.domain.texts import plain_text, shown
from volsvc.domain.times import LATEST_NS, parse_time, time_in_format

# Digits of a whole number before a fraction of zeros, as in 88000.0.
_WHOLE = re.compile(r"(\d{1,19})(?:\.0*)?", re.ASCII)
# A price above this, or below its inverse, is in a wrong unit or from a broken feed.
MAX_PRICE = 1e15
# Letters and digits of symbols: some tokens have names in Chinese. Latin, Cyrillic, Japanese,
# Chinese and Korean ones, as ranges, because dialects of regular expressions differ in classes.
SYMBOL_LETTERS = (
    "0-9A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u0400-\u0481\u048a-\u052f"
    "\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fff\uac00-\ud7a3"
)
_SYMBOL = re.compile(f"[{SYMBOL_LETTERS}][{SYMBOL_LETTERS}._:/-]{{0,63}}")


def is_symbol(text: str) -> bool:
    """Return True if the text can be the name of a symbol."""
    return _SYMBOL.fullmatch(text) is not None


def symbol_of(value: object, default: str | None) -> str:
    """Return the name of a symbol; the default for nothing, which needs one."""
    if value is None or value == "":
        if default is None:
            raise InvalidTickError("symbol", "is missing", "symbol")
        return default
    text = value.strip() if isinstance(value, str) else ""
    if not is_symbol(text):
        raise InvalidTickError("symbol", f"{shown(value)} is not a symbol", "symbol")
    return text


def time_of(value: object, latest_ns: int = LATEST_NS, time_format: str = "") -> int:
    """Return a time before `latest_ns`; `time_format` is that of `strptime`, if it has one."""
    if value is None or value == "":
        raise InvalidTickError("time", "is missing", "time")
    if not isinstance(value, (str, int, float)):
        raise InvalidTickError("time", f"{shown(value)} is not a time", "time")
    try:
        if time_format and isinstance(value, str):
            return time_in_format(value, time_format, latest_ns)
        return parse_time(value, latest_ns)
    except (ValueError, OverflowError) as error:
        raise InvalidTickError("time", str(error)[:240], "time") from error


def _number(field: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise InvalidTickError(field, f"{shown(value)} is not a number", field)
    try:
        number = float_of(value) if isinstance(value, str) else float(value)
    except (ValueError, OverflowError) as error:
        raise InvalidTickError(field, f"{shown(value)} is not a number", field) from error
    if not math.isfinite(number):
        raise InvalidTickError(field, f"{shown(value)} is not finite", field)
    return number


def price_of(value: object, bid: float | None, ask: float | None) -> float:
    """Return a price above 0; the mid of the quotes for nothing."""
    if value is None or value == "":
        if bid is not None and ask is not None:
            return (bid + ask) / 2
        raise InvalidTickError("price", "is missing", "price")
    number = _number("price", value)
    if number <= 0:
        raise InvalidTickError("price", f"{shown(value)} is not positive", "price")
    if not _is_price(number):
        raise InvalidTickError("price", f"{number!r} is out of range", "price")
    return number


def _is_price(number: float) -> bool:
    return 1 / MAX_PRICE <= number <= MAX_PRICE


def optional_number(value: object) -> float | None:
    """Return a finite number, or None."""
    if value is None or value == "":
        return None
    try:
        return _number("", value)
    except InvalidTickError:
        return None


def quote_of(value: object) -> float | None:
    """Return a price above 0, or None."""
    # Venues send an empty text or 0 for an empty side of the book.
    number = optional_number(value)
    return number if number is not None and _is_price(number) else None


def size_of(value: object) -> float | None:
    """Return a number from 0 on, or None."""
    number = optional_number(value)
    return number if number is not None and number >= 0 else None


def side_of(value: object) -> str | None:
    """Return `buy` or `sell`, or None."""
    side = value.strip().lower() if isinstance(value, str) else None
    return side if side in ("buy", "sell") else None


def whole_of(value: object) -> int | None:
    """Return a whole number below 2**63, also of a text such as 88000.0; None for all else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    number: object = value
    if isinstance(value, str):
        # The second way is that of pandas' columns with gaps, and slower.
        plain = value.isascii() and value.isdigit() and len(value) < 20
        match = None if plain else _WHOLE.fullmatch(value.strip())
        number = int(value) if plain else match and int(match[1])
    return number if isinstance(number, int) and 0 <= number < 2**63 else None


def trade_id_of(value: object) -> tuple[int | None, int | None]:
    """Return a trade's number, or else a number made of an id that is none, such as a UUID."""
    # 0 means that the venue sends none.
    if value is None or value in ("", 0, "0") or isinstance(value, bool | float):
        return whole_of(value) or None, None
    number = whole_of(value)
    if number is not None or not isinstance(value, str | int):
        return number or None, None
    text = plain_text(value.strip() if isinstance(value, str) else value, 128)
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return None, int.from_bytes(digest) >> 1
