"""Minutes and longer steps as columns."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.store.past import START, made
from volsvc.domain import NS, format_time
from volsvc.store import AFTER_GAP, PARTIAL, Minutes
from volsvc.store.columns import DIGITS, end_times, rounded, rows_of
from volsvc.store.history import FIELDS, history


def rows(minutes: Minutes, last: int, step: int = 1) -> list[dict[str, Any]]:
    columns = history(minutes, last, step)
    assert tuple(columns) == FIELDS
    return [dict(zip(FIELDS, row, strict=True)) for row in rows_of(columns)]


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=60),
    st.sampled_from((1, 2, 5, 60)),
    st.integers(0, 300),
)
def test_steps_are_their_minutes(gaps: list[int], step: int, last: int) -> None:
    """A row of a step has the first, greatest, least, last, sum or newest of its minutes."""
    minutes = made(np.cumsum(gaps).tolist(), seed=len(gaps))
    kept = minutes.rows
    kept["flags"] = np.arange(len(kept)) % 4
    if len(kept) > 3:
        kept["shadow_sigmas"][3] = np.nan
    found = rows(minutes, START + last, step)
    inside = kept[kept["minute"] <= START + last]
    numbers = sorted({int(minute) // step for minute in inside["minute"]})
    assert [row["time"] for row in found] == [
        format_time((number + 1) * step * 60 * NS) for number in numbers
    ]
    for row, number in zip(found, numbers, strict=True):
        part = inside[inside["minute"] // step == number]
        newest = part[-1]
        assert (row["open"], row["close"]) == (part["open"][0], newest["close"])
        assert (row["high"], row["low"]) == (part["high"].max(), part["low"].min())
        assert (row["ticks"], row["minutes"]) == (part["ticks"].sum(), len(part))
        assert row["volume"] == pytest.approx(part["volume"].sum(dtype=float), rel=1e-5)
        realised = math.sqrt(part["variance"].sum(dtype=float))
        assert row["realised"] == pytest.approx(realised, rel=1e-5)
        assert row["gap"] == any(part["flags"] & AFTER_GAP)
        assert row["partial"] == any(part["flags"] & PARTIAL)
        assert row["sigma_900s"] == pytest.approx(newest["forecasts"][2, 0], rel=1e-5)
        assert row["score_3600s"] == pytest.approx(newest["forecasts"][3, 4], rel=1e-5)
        assert (row["model_variant"], row["version"]) == ("ml", "3")
        if np.isnan(newest["shadow_sigmas"][0]):
            assert (row["shadow_sigma_60s"], row["shadow_variant"]) == (None, "")
        else:
            assert row["shadow_sigma_60s"] == pytest.approx(newest["shadow_sigmas"][0], rel=1e-5)
            assert (row["shadow_variant"], row["shadow_version"]) == ("baseline", "1")


def test_rows_after_the_last_tell_what_came() -> None:
    """`realised_300s` is the volatility of the next five minutes, None until they are over."""
    minutes = made(range(12))
    found = rows(minutes, START + 9)
    assert len(found) == 10
    for place, row in enumerate(found):
        ahead = minutes.rows["variance"][place + 1 : place + 6].astype(float)
        expected = None if len(ahead) < 5 else pytest.approx(math.sqrt(ahead.sum()), rel=1e-5)
        assert row["realised_300s"] == expected


def test_fields_are_chosen_in_their_order() -> None:
    """Only the fields that are named are columns; no minutes give empty ones."""
    columns = history(made(range(3)), START + 9, 1, ("lo_3600s", "time"))
    assert list(columns) == ["lo_3600s", "time"]
    assert not list(rows_of(history(made([]), START)))


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_numbers_have_six_digits(value: float) -> None:
    """A rounded number is the nearest decimal text of six digits."""
    (found,) = rounded(np.array([value])).tolist()
    assert found == pytest.approx(float(f"{value:.{DIGITS}g}"), rel=2e-6, abs=1e-300)
    if value == 0 or 1e-16 < abs(value) < 1e16:
        assert len(repr(abs(found)).replace(".", "").split("e")[0].strip("0")) <= DIGITS


def test_times_are_those_of_the_api() -> None:
    """The end of a minute is written as everywhere else."""
    assert end_times(np.array([START])).tolist() == [format_time((START + 1) * 60 * NS)]
