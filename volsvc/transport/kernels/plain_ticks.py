"""Ticks read from records that are exactly as our encoder writes them: order, forms and bounds.

All others are left to the careful decoder, which knows aliases and finds out what is wrong. A
record that is plain here is valid there, with the same values.
"""

from __future__ import annotations

import math
from typing import Any, Final

from volsvc.compiled import kernel
from volsvc.domain import NS
from volsvc.domain.fields import MAX_PRICE
from volsvc.domain.records import MAX_SOURCE
from volsvc.domain.times import EARLIEST_NS, LATEST_NS
from volsvc.transport.kernels.json_text import (
    after,
    after_text,
    decimal,
    decimal_or_null,
    digits,
    whole_or_null,
)
from volsvc.transport.kernels.names import FREE, find, same_bytes

# The row of a record that is not plain, or of a symbol that is not in the index.
NOT_PLAIN: Final = -1

_MIN_PRICE: Final = 1 / MAX_PRICE
# Any number in place of two digits that are none: no sum with it is a year, month, day or time.
_NO_DIGITS: Final = -1_000_000
_ZERO: Final = 48
_NINE: Final = 57
# Length of a time up to its point.
_SECONDS_LENGTH: Final = 19


@kernel
def read_plain_ticks(
    values: Any,
    lengths: Any,
    keys: Any,
    key_lengths: Any,
    symbols: Any,
    sources: Any,
    other_source: int,
    ticks: Any,
) -> None:
    """Write the plain ticks of records to an array with the fields of a tick of a batch.

    `values` and `keys` are bytes one after the other, each followed by a byte below 32, which is
    not in its length. `symbols` and `sources` are arrays of a NameIndex, and `other_source` is the
    number of a source without one. A record that is not plain has the symbol NOT_PLAIN.
    """
    start = 0
    key_start = 0
    for index in range(len(ticks)):
        tick = ticks[index]
        end = start + lengths[index]
        key_end = key_start + key_lengths[index]
        tick.symbol = NOT_PLAIN
        row = _number_of(symbols, keys, key_start, key_end, NOT_PLAIN)
        if row != NOT_PLAIN:
            at = after(values, start, b'{"symbol":"')
            at = _after_key(values, at, end, keys, key_start, key_end)
            at = _read_fields(values, at, end, sources, other_source, tick)
            if at == end:
                tick.symbol = row
        start = end + 1
        key_start = key_end + 1


@kernel
def _number_of(names: Any, text: Any, start: int, end: int, default: int) -> int:
    slots, rows, lengths, numbers = names
    index = find(slots, rows, lengths, text, start, end)
    return int(numbers[index]) if index != FREE else default


@kernel
def _after_key(values: Any, at: int, end: int, keys: Any, start: int, key_end: int) -> int:
    """Return the position after a record's own key; -1 if its value has something else there."""
    if at < 0 or end - at < key_end - start:
        return -1
    return at + key_end - start if same_bytes(values, at, keys, start, key_end) else -1


@kernel
def _read_fields(values: Any, at: int, end: int, sources: Any, other_source: int, tick: Any) -> int:
    """Read the fields after the symbol; return the position after them, -1 if one is not plain."""
    at = after(values, at, b'","time":"')
    time_ns, at = _time(values, at, end)
    at = after(values, at, b'Z","price":')
    price, at = decimal(values, at)
    at = after(values, at, b',"best_bid":')
    bid, at = decimal_or_null(values, at)
    at = after(values, at, b',"best_ask":')
    ask, at = decimal_or_null(values, at)
    at = after(values, at, b',"size":')
    size, at = decimal_or_null(values, at)
    at = after(values, at, b',"side":')
    at = _after_side(values, at)
    at = after(values, at, b',"trade_id":')
    trade_id, at = whole_or_null(values, at)
    at = after(values, at, b',"sequence":')
    _, at = whole_or_null(values, at)
    at = after(values, at, b',"source":"')
    source = at
    at = after_text(values, at, MAX_SOURCE)
    # A tick without a trade id has another identity, which is not made here.
    if at < 0 or trade_id < 1 or not (_is_price(price) and _is_quote(bid) and _is_quote(ask)):
        return -1
    tick.time_ns = time_ns
    tick.price = price if math.isnan(bid) or math.isnan(ask) else (bid + ask) / 2
    tick.volume = 0.0 if math.isnan(size) else size
    tick.trade_id = trade_id
    tick.identity = trade_id
    tick.quoted = 0 if math.isnan(bid) else 1
    tick.source = _number_of(sources, values, source, at, other_source)
    return after(values, at, b'","v":1}')


@kernel
def _is_price(number: float) -> bool:
    return _MIN_PRICE <= number <= MAX_PRICE


@kernel
def _is_quote(number: float) -> bool:
    return math.isnan(number) or _is_price(number)


@kernel
def _after_side(text: Any, at: int) -> int:
    return max(after(text, at, b"null"), after(text, at, b'"buy"'), after(text, at, b'"sell"'))


@kernel
def _time(text: Any, at: int, end: int) -> Any:
    """Return a time in UTC, and the position of its zone; -1 there if it is not plain."""
    if at < 0 or end - at <= _SECONDS_LENGTH or not _has_marks(text, at):
        return 0, -1
    year = _two_digits(text, at) * 100 + _two_digits(text, at + 2)
    day = _day(year, _two_digits(text, at + 5), _two_digits(text, at + 8))
    hour = _two_digits(text, at + 11)
    minute = _two_digits(text, at + 14)
    second = _two_digits(text, at + 17)
    if day < 0 or not (0 <= hour < 24 and 0 <= minute < 60 and 0 <= second < 60):
        return 0, -1
    point = at + _SECONDS_LENGTH
    fraction, at = digits(text, point + 1, 0)
    decimals = at - point - 1
    if not 1 <= decimals <= 9:
        return 0, -1
    for _ in range(9 - decimals):
        fraction *= 10
    time_ns = (((day * 24 + hour) * 60 + minute) * 60 + second) * NS + fraction
    return time_ns, at if EARLIEST_NS <= time_ns < LATEST_NS else -1


@kernel
def _has_marks(text: Any, at: int) -> bool:
    days = text[at + 4] == 45 and text[at + 7] == 45 and text[at + 10] == 84
    return bool(days and text[at + 13] == 58 and text[at + 16] == 58 and text[at + 19] == 46)


@kernel
def _two_digits(text: Any, at: int) -> int:
    first = int(text[at])
    second = int(text[at + 1])
    if first < _ZERO or first > _NINE or second < _ZERO or second > _NINE:
        return _NO_DIGITS
    return (first - _ZERO) * 10 + second - _ZERO


@kernel
def _day(year: int, month: int, day: int) -> int:
    """Return the days since the epoch; -1 for a day that is not in the calendar or before it."""
    if year < 1970 or not 1 <= month <= 12:
        return -1
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    in_month = 30 + (month + month // 8) % 2
    if month == 2:
        in_month = 29 if leap else 28
    if not 1 <= day <= in_month:
        return -1
    # Years that begin in March have the leap day at their end.
    year -= 1 if month <= 2 else 0
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return year * 365 + year // 4 - year // 100 + year // 400 + of_year - 719_468
