"""Conversion of option values that several commands take."""

from __future__ import annotations

from volsvc.config.settings import SettingsError
from volsvc.domain import NS, parse_time


def split_names(text: str) -> tuple[str, ...]:
    """Return the names of a comma-separated list, without empty ones."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def time_argument(option: str, text: str) -> int:
    """Return an RFC 3339 time in ns since the epoch; raises SettingsError if it is not valid."""
    try:
        return parse_time(text)
    except ValueError as error:
        raise SettingsError(f"{option}: {error}") from error


def minute_argument(option: str, text: str) -> int:
    """Return a date or an RFC 3339 time in minutes since the epoch; raises SettingsError."""
    return time_argument(option, text if "T" in text else f"{text}T00:00:00Z") // (60 * NS)
