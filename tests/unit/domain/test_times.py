"""Parsing and formatting of times."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volsvc.domain import NS, format_time, parse_time
from volsvc.domain.times import EARLIEST_NS, LATEST_NS

TIME_NS = 1_767_571_200 * NS


@given(st.integers(EARLIEST_NS, LATEST_NS - 1))
def test_times_survive_a_round_trip(time_ns: int) -> None:
    """Times are formatted with a final Z, parsed back exactly, and agree with datetime."""
    text = format_time(time_ns)
    assert text.endswith("Z")
    assert parse_time(text) == time_ns
    expected = datetime.fromisoformat(text[:-1][:26]).replace(tzinfo=UTC)
    assert int(expected.timestamp()) == time_ns // NS


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-05T00:00:00Z",
        "2026-01-05 00:00:00",
        "2026-01-05T00:00:00.000000000Z",
        "2026-01-05T01:00:00+01:00",
        "2026-01-05T00:00:00 UTC",
        "2026-01-05 00:00",
        "2026-01-05D00:00:00.000000000",
        "20260105T000000Z",
        "20260105T0000",
        "20260105 000000",
        "20260105 000000000",
        "20260105000000",
        "20260105000000000000",
        "2026/01/05 00:00:00",
        "2026.01.05 00:00",
        "2026-01-05 00:00:00,000",
        "2026-01-05 00:00:00+00",
        "2026-01-05 02:00:00+02",
        "2026-01-05 01:00:00 +0100 CET",
        "2026-01-05 00:00:00 +0000 UTC",
        "2026-01-05 00:00:00 GMT",
        "1.7675712e+12",
        "1.7675712E9",
        "1767571200.000e3",
        "17675712e2",
        1_767_571_200,
        1_767_571_200.0,
        "1767571200",
        "1767571200.000",
        1_767_571_200_000,
        1_767_571_200_000_000,
        1_767_571_200_000_000_000,
    ],
)
def test_formats_of_times(text: Any) -> None:
    """ISO 8601 with any zone and epoch numbers in s, ms, µs and ns give the same time."""
    assert parse_time(text) == TIME_NS


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-13-01T00:00:00Z",
        "2026-01-05T00:00:61Z",
        "2026-01-05T00:00:0\uff11Z",
        "\uff12\uff10\uff12\uff16-01-05T00:00:00Z",
        "2026-01-05T00:00:00.\uff15Z",
        "1_767_571_200",
        "\uff11\uff17\uff16\uff17\uff15\uff17\uff11\uff12\uff10\uff10",
        0,
        5,
        -1,
        "nan",
        "1e9",
        "1.7675712e-12",
        "1.7675712e99",
        "20260105",
        "2026-01-05",
        "2026/01-05 00:00:00",
        "20260105000",
        "20261305000000",
        "2026-01-05 01:00:00 PM",
        "2026-0105T00:00:00Z",
        "05/01/2026 00:00:00",
        True,
        1e300,
    ],
)
def test_invalid_times(text: Any) -> None:
    """Other values raise an error, times in a wrong unit included."""
    with pytest.raises((ValueError, OverflowError)):
        parse_time(text)


@pytest.mark.parametrize("text", ["05/01/2026 00:00:00", "13.01.2026", "1-5-26 10:00"])
def test_a_day_that_may_be_a_month_is_explained(text: str) -> None:
    """The order of day and month cannot be told, and is not guessed."""
    with pytest.raises(ValueError, match="write the year first"):
        parse_time(text)
