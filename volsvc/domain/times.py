"""Event times: integer nanoseconds since the Unix epoch, written as RFC 3339.

They are integers because a float of seconds cannot hold the nanoseconds that exchanges send.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

# Nanoseconds in a second.
NS = 1_000_000_000

# The first Bitcoin block; an earlier time is in a wrong unit.
EARLIEST_NS = int(datetime(2009, 1, 3, tzinfo=UTC).timestamp()) * NS
_EPOCH_START = datetime(1970, 1, 1, tzinfo=UTC)
LATEST_NS = int(datetime(2100, 1, 1, tzinfo=UTC).timestamp()) * NS

# ISO 8601 as venues, databases and programs write it: with a `T`, a blank or BitMEX's `D`, in the
# basic form, with slashes or points, without seconds, with a comma, and with a zone such as `+00`,
# `GMT` or `+0000 UTC`. In ASCII, because digits of other scripts are no part of a time.
_ISO = re.compile(
    r"(?:(\d{4})([-/.])(\d\d)\2(\d\d)|(\d{4})(\d\d)(\d\d)(?=[Tt ]))"
    r"[TtD ](\d\d):?(\d\d)(?::?(\d\d)(?:[.,](\d{1,9})\d*)?)?"
    r"\s*(Z|z|UTC|GMT|([+-]\d\d)(?::?(\d\d))?(?:\s[A-Z]{3,5})?)?",
    re.ASCII,
)
# 20250101000000, 20250101 000000123: as an epoch number it would be of another age.
_DIGITS = re.compile(r"(20\d{6}) ?(\d{6})(\d{3}|\d{6})?", re.ASCII)
_DATE = re.compile(r"\d{4}([-/.])\d\d\1\d\d|20\d{6}", re.ASCII)
_HALF_DAY = re.compile(r".*\d\s?[AP]M", re.ASCII | re.IGNORECASE)
_EPOCH = re.compile(r"(\d{1,20})(?:\.(\d*))?(?:[eE]\+?(\d{1,2}))?", re.ASCII)
_SLASHES = re.compile(
    r"\d{1,2}([/.-])\d{1,2}[/.-](\d{4}|\d\d)(?:\s(\d\d:\d\d(?::\d\d)?)(\.\d+)?)?.*", re.ASCII
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
    match = _ISO.fullmatch(text.strip())
    if match is None:
        if digits := _DIGITS.fullmatch(text.strip()):
            return _parse_text(f"{digits[1]}T{digits[2]}.{digits[3] or '0'}")
        return _parse_epoch_text(text)
    year, _, month, day, *basic, hour, minute, second, fraction, zone, offset, more = match.groups()
    date = (year, month, day) if year else basic
    if int(second or 0) > 59:
        raise ValueError(f"{text!r} has a second above 59")
    zone = f"{offset}:{more or '00'}" if offset else "+00:00"
    start = _minute_ns("-".join(date), f"{hour}:{minute}", zone)
    return start + int(second or 0) * NS + (int(fraction.ljust(9, "0")) if fraction else 0)


@lru_cache(maxsize=4096)
def _second_ns(text: str) -> int:
    """Return the nanoseconds at the start of a second in UTC."""
    # Cached, because consecutive ticks share their second.
    return _parse_text(text + "Z")


def _parse_epoch_text(text: str) -> int:
    match = _EPOCH.fullmatch(text.strip())
    if match is None:
        hint = ""
        if slashes := _SLASHES.fullmatch(text.strip()):
            mark, year, clock, fraction = slashes.groups()
            form = f"%d{mark}%m{mark}{'%Y' if len(year) == 4 else '%y'}"
            form += (" %H:%M" if len(clock or "") == 5 else " %H:%M:%S") if clock else ""
            hint = (
                "; day and month cannot be told apart: write the year first, as in 2026-01-31, "
                f"or give the form, such as --time-format '{form}{'.%f' if fraction else ''}'"
            )
        if _DATE.fullmatch(text.strip()):
            hint = "; it is a day, which has no time"
        if _HALF_DAY.fullmatch(text.strip()):
            hint = "; give the form, such as --time-format '%Y-%m-%d %I:%M:%S %p'"
        raise ValueError(f"{text[:40]!r} is neither an ISO 8601 time nor an epoch number{hint}")
    whole, fraction, exponent = match[1], match[2] or "", int(match[3] or 0)
    # 1.7356896e+12 is 1735689600000.
    whole, fraction = whole + fraction[:exponent].ljust(exponent, "0"), fraction[exponent:]
    if len(whole) > 20:
        raise ValueError(f"{text[:40]!r} is too large for an epoch number")
    digits = _epoch_digits(int(whole))
    return int(whole + fraction[:digits].ljust(digits, "0"))


def _epoch_digits(value: int) -> int:
    """Return the decimals of an epoch number's unit down to ns, derived from its magnitude."""
    return next((d for limit, d in ((10**11, 9), (10**14, 6), (10**17, 3)) if value < limit), 0)


def parse_time(value: str | int | float, latest_ns: int = LATEST_NS) -> int:
    """Return the time in nanoseconds since the epoch.

    `value` is an ISO 8601 text (UTC if it has no zone) or an epoch number in s, ms, µs or ns.
    Raises ValueError for anything else, and for a time before 2009 or from `latest_ns` on, which is
    nearly always in a wrong unit.
    """
    if isinstance(value, bool):
        raise ValueError("a boolean is not a time")
    # A fast path for the format that venues send.
    if isinstance(value, str) and value[19:20] == "." and value[-1:] == "Z":
        fraction = value[20:-1]
        if fraction.isascii() and fraction.isdigit() and len(fraction) <= 9:
            ns = _second_ns(value[:19]) + int(fraction.ljust(9, "0"))
            return _in_range(ns, value, latest_ns)
    # repr() of a float is its shortest decimal, so 1762932011.609013 has exactly its microseconds.
    text = value if isinstance(value, str) else repr(value)
    return _in_range(_parse_text(text), value, latest_ns)


def time_in_format(text: str, time_format: str, latest_ns: int = LATEST_NS) -> int:
    """Return the time of a text in a format of `strptime`, in UTC if it has no zone.

    Raises ValueError as `parse_time` does.
    """
    moment = datetime.strptime(text.strip(), time_format)  # noqa: DTZ007 - the form may have one
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    # In whole microseconds, which a float of seconds would round.
    return _in_range((moment - _EPOCH_START) // timedelta(microseconds=1) * 1_000, text, latest_ns)


def _in_range(nanoseconds: int, value: object, latest_ns: int) -> int:
    if not EARLIEST_NS <= nanoseconds < LATEST_NS:
        raise ValueError(f"{value!r} is outside 2009 to 2100")
    if nanoseconds >= latest_ns:
        raise ValueError(f"{value!r} is in the future: is it in another unit, or of a wrong clock?")
    return nanoseconds


def time_form(value: object) -> str:
    """Return how `parse_time` understands a value: `epoch ms`, `ISO 8601`, or nothing."""
    text = value.strip() if isinstance(value, str) else repr(value)
    if _ISO.fullmatch(text):
        return "ISO 8601"
    match = _EPOCH.fullmatch(text)
    if match is None or isinstance(value, bool):
        return ""
    unit = {9: "s", 6: "ms", 3: "µs", 0: "ns"}[_epoch_digits(int(float(text)))]
    return f"epoch {unit}"


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
