"""Calibration and scores at the ends of minutes: across a restart, and with a failing shadow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volsvc.config.settings import FeatureSettings
from volsvc.domain import Outcome, Tick
from volsvc.domain.tick_columns import columns_of_ticks
from volsvc.features import SymbolTable, apply_recording
from volsvc.features.kernels.points import GRID, MINUTE
from volsvc.models import HORIZONS_S, Baseline, Model, SymbolForecasts, packaged
from volsvc.sources.generator import Generator, GeneratorSpec

SYMBOL = "BTC-USD"
START_NS = 1_767_571_200 * 10**9


def ticks(count: int) -> list[Tick]:
    spec = GeneratorSpec((SYMBOL,), 7, START_NS)
    return [item.tick for item in islice(Generator(spec).ticks(), count)]


def table_of_one() -> SymbolTable:
    """Return a table with a symbol, in row 0."""
    table = SymbolTable(FeatureSettings())
    assert table.row_for(SYMBOL, START_NS) == 0
    return table


def process(
    table: SymbolTable, chunk: Sequence[Tick], serving: Model, shadow: Model
) -> list[Outcome]:
    """Process a batch as the consumer does; return its outcomes."""
    outcomes = []
    for applied in apply_recording(table, [columns_of_ticks(chunk)], Counter()):
        points = np.concatenate([applied.points, table.newest(table.rows)])
        forecasts = SymbolForecasts(table, serving, points, HORIZONS_S, shadow)
        outcomes += forecasts.settle_all()
    return outcomes


def restarted(table: SymbolTable) -> SymbolTable:
    """Return a new table with the symbol restored from its bytes."""
    fresh = SymbolTable(FeatureSettings())
    fresh.restore(SYMBOL, table.stored(0), int(table.newest_ns(table.rows)[0]))
    return fresh


def chunks(items: Sequence[Tick], size: int) -> Iterator[Sequence[Tick]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def test_a_restart_changes_no_score() -> None:
    """State restored from bytes at any batch, of any size, gives the same outcomes and scores."""
    recording, model, baseline = ticks(40_000), packaged().model, Baseline()
    whole, parts = table_of_one(), table_of_one()
    expected = [o for c in chunks(recording, 500) for o in process(whole, c, model, baseline)]
    found = []
    for chunk in chunks(recording, 777):
        found += process(parts, chunk, model, baseline)
        parts = restarted(parts)
    assert found == expected
    assert parts.stored(0) == restarted(whole).stored(0)
    assert {(o.issued.variant, o.issued.horizon_minutes) for o in expected} == {
        (variant, ahead) for variant in ("baseline", "ml") for ahead in (1, 5, 15, 60)
    }


def test_serving_and_shadow_have_equal_scores() -> None:
    """Scores and calibrations are the same whichever variant serves."""
    recording, model, baseline = ticks(4_000), packaged().model, Baseline()
    tables = [table_of_one() for _ in range(2)]
    for chunk in chunks(recording, 500):
        process(tables[0], chunk, model, baseline)
        process(tables[1], chunk, baseline, model)
    first, second = (table.records[0].learnt for table in tables)
    assert first.scores.paired[0].test.n > 10
    assert first.calibrations.tobytes() == second.calibrations.tobytes()
    assert first.scores.tobytes() == second.scores.tobytes()
    assert tables[0].daily.tobytes() == tables[1].daily.tobytes()


SYMBOLS = (SYMBOL, "ETH-USD", "SOL-USD")


@pytest.fixture(scope="module")
def three() -> tuple[list[str], Any]:
    """Three symbols in the order of their rows, and the points of half an hour of their ticks."""
    table = SymbolTable(FeatureSettings())
    spec = GeneratorSpec(SYMBOLS, 7, START_NS)
    recording = [item.tick for item in islice(Generator(spec).ticks(), 15_000)]
    applied = apply_recording(table, [columns_of_ticks(recording)], Counter())
    points = np.concatenate([part.points.copy() for part in applied])
    return [table.symbol(row) for row in table.rows.tolist()], points


def new_table(symbols: Sequence[str]) -> SymbolTable:
    """Return a table of symbols that have learnt nothing yet, in rows from 0 on."""
    table = SymbolTable(FeatureSettings())
    assert [table.row_for(symbol, START_NS) for symbol in symbols] == [*range(len(symbols))]
    return table


def moved_on(points: Any) -> bool:
    """Return True if a symbol has a point after one of the publishing grid."""
    pairs = points[["symbol", "kind"]].tolist()
    return any(
        symbol == later
        for index, (symbol, kind) in enumerate(pairs)
        for later, _ in pairs[index + 1 :]
        if kind == GRID
    )


@given(st.lists(st.integers(1, 400), max_size=30), st.booleans())
@settings(max_examples=10, deadline=None)
def test_calls_of_any_number_of_points_give_the_same(
    three: tuple[list[str], Any], sizes: list[int], to_grid: bool
) -> None:
    """Points settled in one call or in several give equal states and outcomes."""
    model, baseline = packaged().model, Baseline()
    symbols, points = three
    whole, parts = new_table(symbols), new_table(symbols)
    expected = SymbolForecasts(whole, model, points, HORIZONS_S, baseline)
    outcomes = expected.settle_all()
    assert len(outcomes) > 100
    found, first = [], 0
    for size in (*sizes, len(points)):
        some = points[first : first + size]
        forecasts, done = SymbolForecasts(parts, model, some, HORIZONS_S, baseline), 0
        while done < len(some):
            begin = done
            done, matured = forecasts.settle(done, to_grid=to_grid)
            found += matured
            # A call goes as far as no symbol has moved on from a point whose state is published.
            if to_grid:
                assert not moved_on(some[begin:done])
                assert done == len(some) or moved_on(some[begin : done + 1])
        # The ends of minutes have none.
        at_ticks = some["kind"] != MINUTE
        wanted = expected.numbers[first : first + size][at_ticks]
        assert forecasts.numbers[at_ticks].tobytes() == wanted.tobytes()
        first += size
    assert found == outcomes
    assert parts.records.tobytes() == whole.records.tobytes()
    assert parts.daily.tobytes() == whole.daily.tobytes()


def test_symbols_without_points_stay_as_they_are(three: tuple[list[str], Any]) -> None:
    """One symbol learns without a change of any byte of the rows before and after it."""
    symbols, points = three
    table, middle = new_table(symbols), 1
    records, daily = table.records.copy(), table.daily.copy()
    own = points[points["symbol"] == middle]
    SymbolForecasts(table, packaged().model, own, HORIZONS_S, Baseline()).settle_all()
    others = np.arange(len(records)) != middle
    assert table.records[others].tobytes() == records[others].tobytes()
    assert table.daily[others].tobytes() == daily[others].tobytes()
    assert table.records[middle].ticks.tobytes() == records[middle].ticks.tobytes()
    assert table.records[middle].learnt.tobytes() != records[middle].learnt.tobytes()
    assert (table.daily[middle] != daily[middle]).any()


class NanShadow(Baseline):
    """A shadow whose variances are NaN."""

    variant = "ml"

    def head_variances(self, features: Any, count: int) -> Any:
        return np.full((len(features), count), np.nan)


def test_a_failing_shadow_is_left_out() -> None:
    """The serving model is scored without it."""
    table = table_of_one()
    outcomes = [
        o for c in chunks(ticks(4_000), 500) for o in process(table, c, Baseline(), NanShadow())
    ]
    assert {o.issued.variant for o in outcomes} == {"baseline"}
