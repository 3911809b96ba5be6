"""Outcomes that are derived from kept minutes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.models.test_judged_minutes import Market
from tests.unit.pipeline.test_forecaster import Forecasting
from tests.unit.store.past import START, SYMBOL, keep, kept, made
from volsvc.features import FLOOR_PER_MINUTE
from volsvc.scoring.scores import DAY_MINUTES
from volsvc.scoring.track_record import TrackRecord
from volsvc.store import Minutes
from volsvc.store.columns import length, rows_of
from volsvc.store.outcomes import issued_forecasts, outcomes
from volsvc.transport import OutRecord

EVERYTHING = 2**31 - 1
# The store keeps 13 binary digits of a number, and answers have six decimal ones.
DIGITS = 2.0**-12
COMPARED = ("issued", "horizon_s", "model_variant")


def by_key(rows: list[dict[str, Any]]) -> dict[tuple[Any, ...], dict[str, Any]]:
    found = {tuple(row[name] for name in COMPARED): row for row in rows}
    assert len(found) == len(rows)
    return found


def published(record: OutRecord) -> dict[str, Any]:
    """Return an outcome of the topic with the names of answers."""
    fields = json.loads(record.value or b"")
    return {name.removesuffix("_at"): value for name, value in fields.items()}


@pytest.mark.parametrize("variant", ["ml", "baseline"])
def test_they_are_those_of_the_daemon(tmp_path: Path, variant: str) -> None:
    """Live scores of the daemon are derived from its minutes, to the digits that are kept."""
    parts: list[Minutes] = []
    forecasting = Forecasting(
        variant=variant, keep_minutes=lambda minutes, outputs: parts.append(minutes)
    )
    live = forecasting.apply(Market(seed=5).ticks).outcomes
    expected = by_key([published(record) for record in live])
    keep(tmp_path / "a.db", *parts)
    columns, _ = outcomes(kept(tmp_path / "a.db"), EVERYTHING)
    found = by_key([dict(zip(columns, row, strict=True)) for row in rows_of(columns)])
    assert found.keys() == expected.keys()
    assert {horizon for _, horizon, _ in found} == {60.0, 300.0, 900.0, 3600.0}
    for key, row in found.items():
        own = expected[key]
        assert (row["matured"], row["version"]) == (own["matured"], own["version"])
        for name in ("sigma", "realised"):
            assert row[name] == pytest.approx(own[name], rel=DIGITS)
        ratio = (own["realised"] / own["sigma"]) ** 2
        assert row["qlike"] == pytest.approx(own["qlike"], abs=8 * DIGITS * (ratio + 1))
        if row["model_variant"] == variant:
            assert row["covered"] == own["covered"]
            assert row["brier"] == pytest.approx(own["brier"], abs=4 * DIGITS)
            for name in ("lo", "hi", "threshold", "score"):
                assert row[name] == pytest.approx(own[name], rel=DIGITS, abs=DIGITS**2)
        else:
            assert {row[name] for name in ("lo", "hi", "threshold", "score", "covered")} == {None}


def test_pages_end_between_minutes() -> None:
    """Pages of any size have all outcomes once, in order, and no page more than its limit."""
    minutes = made([m for m in range(400) if m % 37])
    whole, _ = outcomes(minutes, EVERYTHING)
    for limit in (8, 9, 100):
        first = 0
        rows: list[Any] = []
        while True:
            part = minutes._replace(rows=minutes.rows[minutes.rows["minute"] >= first])
            columns, rest = outcomes(part, EVERYTHING, limit=limit)
            assert 0 < length(columns) <= limit
            rows += rows_of(columns)
            if rest is None:
                break
            first = rest
        assert rows == list(rows_of(whole))


def test_the_end_and_the_horizon_select() -> None:
    """Outcomes of later minutes are left out, though their rows tell what came."""
    minutes = made(range(200))
    whole, _ = outcomes(minutes, EVERYTHING)
    columns, _ = outcomes(minutes, START + 99, [60])
    chosen = [
        row for row in rows_of(whole) if row[2] == 3600.0 and row[0] <= "2026-01-05T01:40:00.000Z"
    ]
    assert list(rows_of(columns)) == chosen
    assert len(chosen) == 2 * 6


def test_a_track_record_is_the_sum_of_outcomes() -> None:
    """Losses, coverage and bins are those of the outcomes by the day on which they matured."""
    minutes = made([m for m in range(3 * DAY_MINUTES) if m % 50 or m < 1000])
    # A silence that is a gap of the feed.
    minutes.rows["flags"][1500] = 1
    record = TrackRecord(START // DAY_MINUTES, 4)
    record.add(issued_forecasts(minutes), FLOOR_PER_MINUTE)
    columns, _ = outcomes(minutes, EVERYTHING)
    for place, horizon_s in enumerate((60.0, 300.0, 900.0, 3600.0)):
        for variant, model in (("ml", 0), ("baseline", 1)):
            own = (columns["horizon_s"] == horizon_s) & (columns["model_variant"] == variant)
            # What matures at midnight is of the day that ends then, as in the daemon.
            ends = columns["matured"][own].astype("U19").astype("M8[m]").astype(int)
            days = (ends - 1) // DAY_MINUTES - record.first_day
            n = np.bincount(days, minlength=4)
            assert record.compared[place, :, model].tolist() == n.tolist()
            losses = np.bincount(days, columns["qlike"][own], minlength=4)
            assert record.qlike[place, :, model] == pytest.approx(losses, rel=1e-4)
            if variant == "ml":
                covered = np.bincount(days, columns["covered"][own].astype(float), minlength=4)
                brier = np.bincount(days, columns["brier"][own], minlength=4)
                assert record.served[place] == pytest.approx(np.stack([n, covered, brier], 1))
                scores = columns["score"][own]
                counts, _ = np.histogram(scores, 10, (0, 1))
                assert np.abs(record.reliability[place, :, 0] - counts).sum() <= 2
                spikes = columns["realised"][own] > columns["threshold"][own]
                assert record.reliability[place, :, 1:].sum(axis=0) == pytest.approx(
                    [scores.sum(), spikes.sum()], rel=1e-4
                )


def test_a_record_without_a_shadow_compares_what_there_is() -> None:
    """Without forecasts of one variant, the other is compared with the EWMA."""
    minutes = made(range(300))
    minutes.rows["shadow_sigmas"] = np.nan
    record = TrackRecord(START // DAY_MINUTES, 1)
    record.add(issued_forecasts(minutes), FLOOR_PER_MINUTE)
    assert record.compared[0, 0, 1] == 0
    assert record.compared[0, 0, 0] == record.compared[0, 0, 2] == 299


def test_nothing_gives_nothing() -> None:
    """No minutes have no outcomes and an empty record."""
    nothing = Minutes([], made([]).rows, [])
    columns, rest = outcomes(nothing, EVERYTHING, limit=8)
    assert (length(columns), rest) == (0, None)
    record = TrackRecord(0, 1)
    record.add(issued_forecasts(nothing), FLOOR_PER_MINUTE)
    assert not record.compared.any()
    assert SYMBOL not in nothing.symbols
