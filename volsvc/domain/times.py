"""Event times: integer nanoseconds since the Unix epoch, written as RFC 3339.

They are integers because a float of seconds cannot hold the nanoseconds that exchanges send.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache

# Nanoseconds in a second.
NS = 1_000_000_000

# The first Bitcoin block; an earlier time is in a wrong unit.
EARLIEST_NS = int(datetime(2009, 1, 3, tzinfo=UTC).timestamp()) * NS
LATEST_NS = int(datetime(2100, 1, 1, tzinfo=UTC).timestamp()) * NS

_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d):(\d\d)(?:\.(\d{1,9})\d*)?\s*(Z|z|UTC|[+-]\d\d:?\d\d)?",
    # Digits of other scripts are no part of a time.
    re.ASCII,
)


@lru_cache(maxsize=4096)
def _minute_ns(day: str, minute: str, zone: str) -> int:
    """Return the nanoseconds at the start of a minute."""
    # Cached, because consecutive ticks share their minute.
    start = datetime.fromisoformat(f"{day}T{minute}:00{zone}")
    return int(start.timestamp()) * NS


@lru_cache(maxsize=4096)
def _minute_text(minute: int) -> str:
    return datetime.fromtimestamp(minute * 60, UTC).strftime("%Y-%m-%dT%H:%M:")


def _parse_text(text: str) -> int:
    match = _RFC3339.fullmatch(text.strip())
    if match is None:
        return _parse_epoch_text(text)
    day, minute, second, fraction, zone = match.groups()
    utc = zone in (None, "Z", "z", "UTC")
    if int(second) > 59:
        raise ValueError(f"{text!r} has a second above 59")
    start = _minute_ns(day, minute, "+00:00" if utc else zone)
    return start + int(second) * NS + (int(fraction.ljust(9, "0")) if fraction else 0)


@lru_cache(maxsize=4096)
def _second_ns(text: str) -> int:
    """Return the nanoseconds at the start of a second in UTC."""
    # Cached, because consecutive ticks share their second.
    return _parse_text(text + "Z")


def _parse_epoch_text(text: str) -> int:
    whole, _, fraction = text.strip().partition(".")
    if not (whole + fraction).isascii() or not (whole + fraction).isdigit() or len(whole) > 20:
        raise ValueError(f"{text[:40]!r} is neither an RFC 3339 time nor an epoch number")
    digits = _epoch_digits(int(whole))
    return int(whole + fraction[:digits].ljust(digits, "0"))


def _epoch_digits(value: int) -> int:
    """Return the decimals of an epoch number's unit down to ns, derived from its magnitude."""
    return next((d for limit, d in ((10**11, 9), (10**14, 6), (10**17, 3)) if value < limit), 0)


def parse_time(value: str | int | float) -> int:
    """Return the time in nanoseconds since the epoch.

    `value` is an RFC 3339 text (UTC if it has no zone) or an epoch number in s, ms, µs or ns.
    Raises ValueError for anything else, and for a time outside 2009 to 2100, which is nearly
    always in a wrong unit.
    """
    if isinstance(value, bool):
        raise ValueError("a boolean is not a time")
    # A fast path for the format that venues send.
    if isinstance(value, str) and value[19:20] == "." and value[-1:] == "Z":
        fraction = value[20:-1]
        if fraction.isascii() and fraction.isdigit() and len(fraction) <= 9:
            return _in_range(_second_ns(value[:19]) + int(fraction.ljust(9, "0")), value)
    # repr() of a float is its shortest decimal, so 1762932011.609013 has exactly its microseconds.
    return _in_range(_parse_text(value if isinstance(value, str) else repr(value)), value)


def _in_range(nanoseconds: int, value: object) -> int:
    if not EARLIEST_NS <= nanoseconds < LATEST_NS:
        raise ValueError(f"{value!r} is outside 2009 to 2100")
    return nanoseconds


def format_time(nanoseconds: int) -> str:
    """Return the time as RFC 3339 in UTC, with 3, 6 or 9 decimals, as few as hold it."""
    seconds, fraction = divmod(nanoseconds, NS)
    minute, second = divmod(seconds, 60)
    start = _minute_text(minute)
    if fraction % 1_000_000 == 0:
        return f"{start}{second:02d}.{fraction // 1_000_000:03d}Z"
    if fraction % 1_000 == 0:
        return f"{start}{second:02d}.{fraction // 1_000:06d}Z"
    return f"{start}{second:02d}.{fraction:09d}Z"
