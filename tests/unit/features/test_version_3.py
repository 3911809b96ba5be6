"""States of version 3 are migrated when they are restored, or refused as a whole."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.registry.store import ML_1
from tests.unit.features.version_3 import NAMES, PARTITION, cases, features_record, value_of
from volsvc.config.settings import FeatureSettings
from volsvc.domain import InvalidTickError, Tick, parse_time
from volsvc.domain.float_codec import pack, unpack
from volsvc.features import StateError, SymbolTable
from volsvc.features.kernels import realised
from volsvc.models import Model, read_artefact
from volsvc.pipeline.forecaster import Forecaster
from volsvc.pipeline.latest_store import LatestStore
from volsvc.pipeline.output_publisher import Outputs
from volsvc.pipeline.tick_applier import TickApplier
from volsvc.scoring.scores import VARIANTS
from volsvc.scoring.sequential_test import log_wealth_fitted, log_wealth_reference
from volsvc.serving.holder import ModelHolder
from volsvc.serving.model_choice import DesiredModel
from volsvc.telemetry.metrics import Metrics
from volsvc.transport import Record
from volsvc.transport.codec import decode_state, encode_tick

NUMBERS = ("horizon_s", "sigma", "lo", "hi", "threshold", "score")


def tick_record(symbol: str, fields: Any) -> Record:
    """Return the record of a tick that followed a state."""
    offset, timestamp_ms, time, *rest = fields
    encoded = encode_tick(Tick(symbol, parse_time(time), *rest))
    return Record("ticks", PARTITION, offset, encoded.key, encoded.value, (), timestamp_ms)


@cache
def former_model() -> Model:
    """Return the model that the former code served."""
    return read_artefact(ML_1).model


class Restored:
    """A table with the state of a case, and what is published from it."""

    def __init__(self, case: Any, value: Any) -> None:
        self.case = case
        self.table = SymbolTable(FeatureSettings(**case["settings"]))
        self.table.row_for("BEFORE", 0)
        stored = decode_state(features_record(case, value))
        assert stored is not None
        self.state = self.table.restore(stored.symbol, stored.content, stored.time_ns)
        fitted = former_model() if case["variant"] == "ml" else None
        holder = ModelHolder(DesiredModel(case["variant"], fitted))
        store, metrics = LatestStore(), Metrics()
        self._forecaster = Forecaster(self.table, holder, store, metrics, "writer#1")
        self._applier = TickApplier(self.table, store, metrics)

    def others(self) -> bytes:
        """Return what the table has of other symbols."""
        arrays = self.table.records, self.table.daily
        row = self.table.row(self.state.symbol)
        return b"".join(np.delete(array, row, axis=0).tobytes() for array in arrays)

    def follow(self) -> Outputs:
        """Take the ticks that followed."""
        outputs = Outputs()
        records = [tick_record(self.case["key"], fields) for fields in self.case["ticks"]]
        for part in self._applier.slices(records):
            if part.applied is not None:
                self._forecaster.forecast(part.applied, outputs)
        return outputs


def restored(name: str) -> Restored:
    """Return the restored state of a case."""
    return Restored(cases()[name], value_of(name))


@pytest.mark.parametrize("name", NAMES)
def test_forecasts_after_a_migration_are_those_of_the_former_code(name: str) -> None:
    """Forecasts agree within 1e-9, and counts exactly."""
    found = restored(name)
    published = found.follow().features
    expected = found.case["features"]
    assert len(published) == len(expected) > 1
    for record, then in zip(published, expected, strict=True):
        now = json.loads(record.value or b"")
        numbers = [[row[name] for name in NUMBERS] for row in now["predictions"]]
        assert np.array(numbers) == pytest.approx(np.array(then["predictions"]), rel=1e-9)
        assert now["quality"] == {**then["quality"], "warmed": None}
        for key in ("symbol", "time", "n", "prediction_id", "model_variant", "version"):
            assert now[key] == then[key]
        for key in ("price", "ret_mean", "ret_std", "span_s", "score"):
            assert now[key] == pytest.approx(then[key], rel=1e-9)
    assert now["features"] == pytest.approx(then["features"], rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_scores_after_a_migration_are_those_of_the_former_code(name: str) -> None:
    """Pending forecasts mature, and sums and tests go on."""
    found = restored(name)
    assert len(found.follow().outcomes) == found.case["outcomes"]
    scores = found.state.scores
    for variant in VARIANTS:
        sums = [list(scores.loss_sums(variant, index)) for index in range(4)]
        assert np.array(sums) == pytest.approx(np.array(found.case["sums"][variant]), rel=1e-9)
    for index, then in enumerate(found.case["paired"]):
        test = scores.test(index)
        wealth = (test.n, log_wealth_fitted(test), log_wealth_reference(test))
        assert [*scores.paired_losses(index), *wealth] == pytest.approx(then, rel=1e-9)


def test_a_migrated_state_is_published_in_the_form_of_today() -> None:
    """It is read back as it was."""
    found = restored("held")
    row = found.table.row(found.state.symbol)
    table = SymbolTable(FeatureSettings(**found.case["settings"]))
    again = table.restore(found.state.symbol, found.table.stored(row), 0)
    assert again.record.learnt.tobytes() == found.state.record.learnt.tobytes()
    assert again.quality() == found.state.quality()


def test_what_was_counted_and_chained_is_carried_over() -> None:
    """Place in the log, counts, the digest chain and the window are those of the stored state."""
    value = value_of("held")
    state, old = restored("held").state, value["state"]
    assert (state.partition, state.offset) == (old["partition"], old["offset"])
    check, digest = state.record.ticks.check, state.record.learnt.digest
    counts = [check.duplicates, check.late, check.gaps, check.future, check.accepted]
    assert counts == old["order"]["counts"]
    assert digest.head.tobytes().hex() == old["digest"]["head"]
    assert digest.closed_minute == old["digest"]["closed"][0]
    assert state.row is not None
    assert state.row.fields() == {key: value[key] for key in state.row.fields()}


def test_a_state_of_1_0_0_is_migrated() -> None:
    """Its calibrations have no minute, and its tests begin before the first one."""
    value = value_of("recording")
    for calibration in value["state"]["calibrations"].values():
        del calibration["minute"]
    value["state"]["scores"]["versus"][3][0] = -1
    found = Restored(cases()["recording"], value)
    assert found.state.record.learnt.calibrations["minute"].tolist() == [-1, -1]
    assert len(found.follow().features) == len(found.case["features"])


@pytest.mark.parametrize("key", ["calibrations", "scores", "digest"])
def test_what_a_state_lacks_starts_anew(key: str) -> None:
    """A state that was taken without what forecasts have taught is one of ticks."""
    value = value_of("recording")
    del value["state"][key]
    table = SymbolTable(FeatureSettings(window_size=30))
    fresh = table.state(table.row_for("A", 0)).record.learnt
    kept = Restored(cases()["recording"], value).state.record.learnt
    assert kept[key].tobytes() == fresh[key].tobytes()


def test_bins_beyond_the_outermost_count_in_these() -> None:
    """The former trailing quantiles had a bin for each value, however far out."""
    value = value_of("recording")
    value["state"]["outcomes"]["usual"][0] = [2, 1.0, [-10_000, 10_000], pack([1.0, 2.0])]
    learnt = Restored(cases()["recording"], value).state.record.learnt
    weights = learnt.realised.quantiles[0].weights
    assert (weights[0], weights[realised.BINS - 1], weights.sum()) == (1.0, 2.0, 3.0)


REQUIRED = ("window_size", "prices", "times", "step", "minutes", "engine", "outcomes", "order")


@pytest.mark.parametrize("key", REQUIRED)
def test_a_state_without_a_key_is_refused(key: str) -> None:
    """Half of a state is none."""
    value = value_of("recording")
    del value["state"][key]
    with pytest.raises(StateError, match=key):
        Restored(cases()["recording"], value)


def test_a_state_of_another_window_is_refused() -> None:
    """Its features would be those of neither window."""
    case = {**cases()["recording"], "settings": {"window_size": 31}}
    with pytest.raises(StateError, match="window of 30 is not 31"):
        Restored(case, value_of("recording"))


@pytest.mark.parametrize("state", [None, [], "e30="])
def test_a_record_without_a_state_is_refused(state: Any) -> None:
    """The version alone does not make a record one of ours."""
    value = {**value_of("recording"), "state": state}
    with pytest.raises(InvalidTickError, match="3 is not 4"):
        Restored(cases()["recording"], value)


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the places of all values inside a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from paths(inner, (*path, key))


ODD_FLOATS = (math.nan, math.inf, -math.inf, -1.0, 0.0, 1e300, 5e-324)
ODD_INTEGERS = (-(2**62), -1, 0, 1, 31, 60, 2**33, 2**40, 2**62)
ODD: tuple[Any, ...] = (None, True, 2**64, 0.5, 1e308, "", "AAAA", "\u0000", [], {})


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, Any]:
    """Return the name of a case, and its record's value with some odd places in the state."""
    name = draw(st.sampled_from(NAMES))
    value = value_of(name)
    for _ in range(draw(st.integers(1, 2))):
        *outer, key = draw(st.sampled_from(list(paths(value["state"]))))
        holder = value["state"]
        for step in outer:
            holder = holder[step]
        kind = draw(st.sampled_from(("delete", "replace", "likely", "likely", "likely")))
        if kind == "delete":
            del holder[key]
        elif kind == "replace":
            holder[key] = deepcopy(draw(st.sampled_from(ODD)))
        else:
            holder[key] = draw(likely(holder[key]))
    return name, value


@st.composite
def likely(draw: st.DrawFn, value: Any) -> Any:
    """Return an odd value of the same kind."""
    if isinstance(value, list):
        return (value * 70)[: draw(st.integers(0, 70))]
    if isinstance(value, int):
        return draw(st.sampled_from((*ODD_INTEGERS, value - 1, value + 1, value + 64)))
    if isinstance(value, float):
        return draw(st.sampled_from((-1.0, 0.0, 1e-300, 1e14, 1e300, value * 2)))
    if isinstance(value, str) and is_packed(value):
        floats = unpack(value)
        floats[draw(st.integers(0, len(floats) - 1))] = draw(st.sampled_from(ODD_FLOATS))
        return pack(floats)
    return value


def is_packed(text: str) -> bool:
    """Return True if a text may hold floats."""
    try:
        return len(unpack(text)) > 0
    except ValueError:
        return False


@settings(deadline=None)
@given(mutated())
def test_an_odd_state_is_refused_or_takes_ticks(found: tuple[str, Any]) -> None:
    """Nothing else is raised, and no other symbol's memory is written to."""
    name, value = found
    try:
        odd = Restored(cases()[name], value)
    except (StateError, InvalidTickError):
        return
    odd.table.row_for("AFTER", 0)
    others = odd.others()
    odd.follow()
    assert odd.others() == others
