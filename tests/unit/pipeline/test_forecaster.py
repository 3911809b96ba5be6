"""The forecaster: what readers get, what is published, and what a symbol learns from it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest

from tests.unit.pipeline.logged import START_NS, tick
from volsvc.config.settings import FeatureSettings
from volsvc.domain import PointForecast, Snapshot, Tick, parse_time
from volsvc.domain.tick_columns import columns_of_ticks
from volsvc.features import Applied, Buffers, SymbolTable
from volsvc.features.kernels.points import MINUTE
from volsvc.features.stored_state import unpack
from volsvc.features.tick_batch import tick_batch
from volsvc.models import HORIZONS_S, Baseline, Model, SymbolForecasts, packaged
from volsvc.pipeline.forecaster import Forecaster
from volsvc.pipeline.latest_store import LatestStore
from volsvc.pipeline.output_publisher import Outputs
from volsvc.serving.holder import ModelHolder
from volsvc.serving.model_choice import BASELINE, DesiredModel
from volsvc.telemetry.metrics import Metrics
from volsvc.transport import OutRecord, Record
from volsvc.transport.codec import encode_outcome
from volsvc.transport.features_record import STATE_HEADER, decode_snapshot, read_header

MODEL = packaged().model
# Minutes of which forecasts for one minute and for five mature.
MINUTES = 8
# Of the last tick that was applied.
PARTITION, OFFSET = 3, 41


class BrokenModel(Baseline):
    """A fitted model without a finite forecast."""

    variant, version, digest = "ml", "9", "broken"

    def head_variances(self, features: Any, count: int) -> Any:
        """Return NaN."""
        return np.full((len(features), count), np.nan)


def applied_to(table: SymbolTable, ticks: Sequence[Tick]) -> Iterator[Applied]:
    """Apply ticks in parts, and yield what each gives."""
    rows = [table.row_for(one.symbol, one.time_ns) for one in ticks]
    batch = tick_batch(columns_of_ticks(ticks), rows)
    batch["partition"] = PARTITION
    batch["offset"] = range(OFFSET + 1 - len(ticks), OFFSET + 1)
    buffers, done = Buffers(16, copies=True), 0
    while done < len(batch):
        applied = table.apply(batch, done, buffers)
        done = applied.next
        yield applied


class Forecasting:
    """A forecaster and all that it is connected with."""

    def __init__(
        self, fitted: Model = MODEL, variant: str = "ml", *, shadow: bool = True, **options: Any
    ) -> None:
        self.metrics = Metrics()
        self.store = LatestStore()
        self.table = SymbolTable(FeatureSettings(publish_every_s=options.pop("every_s", 1.0)))
        self.observed: list[PointForecast] = []
        holder = ModelHolder(DesiredModel(variant, fitted), shadow=shadow)
        options.setdefault("observe", self.observed.append)
        self.forecaster = Forecaster(
            self.table, holder, self.store, self.metrics, "writer#1", **options
        )

    def apply(self, ticks: Sequence[Tick]) -> Outputs:
        """Apply ticks, forecast at their points, and return the records to publish."""
        outputs = Outputs()
        for applied in applied_to(self.table, ticks):
            self.forecaster.forecast(applied, outputs)
        return outputs

    def flush(self, *symbols: str) -> Outputs:
        """Return the records of the newest states."""
        outputs = Outputs()
        self.forecaster.publish_newest([self.table.row(symbol) for symbol in symbols], outputs)
        return outputs

    def updated(self, *symbols: str) -> None:
        """Tell readers of newer ticks."""
        self.forecaster.note_updated(np.array([self.table.row(symbol) for symbol in symbols]))

    def digest(self, symbol: str = "A") -> bytes:
        """Return the head of a symbol's digest chain."""
        head: bytes = self.table.get(symbol).record.learnt.digest.head.tobytes()
        return head

    def timed(self, variant: str) -> float | None:
        """Return how many model calls of a variant were timed."""
        name, labels = "volsvc_inference_duration_seconds_count", {"variant": variant}
        return self.metrics.registry.get_sample_value(name, labels)


def seconds(count: int = 5, symbol: str = "A") -> list[Tick]:
    """Return a tick a second."""
    return [tick(second, symbol) for second in range(count)]


def decoded(record: OutRecord) -> Snapshot:
    """Return the snapshot in a features record."""
    place = Record("ticks.features", 0, 0, record.key, record.value, record.headers)
    return decode_snapshot(place).snapshot


def ticked(ticks: Sequence[Tick]) -> SymbolTable:
    """Return a table after ticks, of which nothing was learnt."""
    table = SymbolTable(FeatureSettings())
    for _ in applied_to(table, ticks):
        pass
    return table


def newest(
    table: SymbolTable, model: Model, horizon_s: float = 60.0, symbol: str = "A"
) -> PointForecast:
    """Return the forecast at the newest tick, by a call of the model for it alone."""
    horizons = sorted({*HORIZONS_S, horizon_s})
    points = table.newest(np.array([table.row(symbol)]))
    forecasts = SymbolForecasts(table, model, points, horizons)
    forecasts.settle()
    return forecasts.point_forecast(0, horizon_s)


def expected(ticks: Sequence[Tick], model: Model, horizon_s: float = 60.0) -> Snapshot:
    """Return the snapshot after ticks of one symbol."""
    return newest(ticked(ticks), model, horizon_s, ticks[0].symbol).snapshot()


def test_without_points_no_model_is_called() -> None:
    """Ticks that give no points, and no symbols at all, leave everything as it is."""
    forecasting = Forecasting()
    assert forecasting.apply([]) == Outputs()
    forecasting.apply([tick(0)])
    calls = forecasting.timed("ml")
    assert forecasting.apply([tick(0.1), tick(0.2)]) == Outputs()
    assert forecasting.flush() == Outputs()
    forecasting.updated()
    forecasting.forecaster.refresh(["another"])
    assert forecasting.timed("ml") == calls == 1


def test_readers_get_the_forecast_of_the_newest_tick() -> None:
    """It goes to the latest store, with its offset and the time at which the tick was processed."""
    forecasting = Forecasting(every_s=60)
    forecasting.apply(seconds())
    observed, digest = len(forecasting.observed), forecasting.digest()
    before = time.time()
    forecasting.updated("A")
    entry = forecasting.store.get("A")
    assert entry.snapshot == expected(seconds(), MODEL)
    assert entry.offset == OFFSET
    assert before - 0.001 <= entry.processed_s <= time.time()
    assert len(forecasting.observed) == observed
    assert forecasting.digest() == digest


def test_a_snapshot_is_made_when_somebody_asks() -> None:
    """While nobody watches the streams no model is called, and a reader gets the newest tick."""
    forecasting = Forecasting(every_s=60)
    forecasting.store.watched = lambda: False
    for count in (5, 7):
        forecasting.apply(seconds(count)[-2:] if count > 5 else seconds(count))
        calls = forecasting.timed("ml")
        forecasting.updated("A")
        assert forecasting.timed("ml") == calls
        noted_s = time.time()
        assert forecasting.store.get("A").snapshot == expected(seconds(count), MODEL)
        assert forecasting.store.get("A").processed_s <= noted_s
        assert forecasting.timed("ml") == (calls or 0) + 1


def test_a_point_of_the_grid_is_published_with_its_state() -> None:
    """The record has the snapshot, the writer, and the state after the forecast."""
    forecasting, ticks = Forecasting(every_s=60), seconds(1)
    before = time.time_ns()
    reference = ticked(ticks)
    reference.digest(reference.row("A")).add_forecast(newest(reference, MODEL))
    outputs = forecasting.apply(ticks)
    (record,) = outputs.features
    assert outputs == Outputs(features=[record])
    snapshot = decoded(record)
    assert snapshot == expected(ticks, MODEL)
    value = msgspec.json.decode(record.value or b"")
    assert before - 1_000_000 <= parse_time(value["processed_at"]) <= time.time_ns()
    stored = unpack(dict(record.headers)[STATE_HEADER], FeatureSettings().window_size)
    wanted = unpack(reference.stored(reference.row("A")), FeatureSettings().window_size)
    assert stored.state.learnt.digest == wanted.state.learnt.digest
    assert stored.prices.tolist() == [ticks[0].price]
    assert (stored.state.ticks.partition, stored.state.ticks.offset) == (PARTITION, OFFSET)
    header = read_header(Record("f", 3, 0, record.key, record.value, record.headers))
    assert header is not None
    assert (header.offset, header.writer, record.partition) == (OFFSET, "writer#1", PARTITION)
    assert [one.snapshot() for one in forecasting.observed] == [snapshot]
    assert len(forecasting.table.get("A").forecast_history.forecasts(10)) == 1
    # Readers get it with the newest tick of its slice.
    assert len(forecasting.store) == 0


def test_each_point_is_published_with_the_state_at_its_tick() -> None:
    """Later ticks of the same part have moved the state on; it restores to that of its tick."""
    forecasting, ticks = Forecasting(), seconds(9)
    records = forecasting.apply(ticks).features
    assert len(records) == len(ticks)
    for count, record in enumerate(records, 1):
        other = SymbolTable(FeatureSettings())
        other.restore("A", dict(record.headers)[STATE_HEADER], START_NS)
        assert other.get("A").row == ticked(ticks[:count]).get("A").row
        assert decoded(record).row == other.get("A").row
        once = Forecasting()
        assert [decoded(one) for one in once.apply(ticks[:count]).features][-1] == decoded(record)
        assert once.digest() == other.get("A").record.learnt.digest.head.tobytes()


def test_the_symbols_whose_newest_state_is_published_are_named() -> None:
    """A flush need not publish them again; later ticks off the grid are a reason to."""
    forecasting = Forecasting()
    ticks = [tick(0, "A"), tick(0, "B"), tick(0.5, "A"), tick(1, "C"), tick(2, "A")]
    for count, names in ((2, ["A", "B"]), (1, []), (2, ["C", "A"])):
        part, ticks = ticks[:count], ticks[count:]
        (applied,) = applied_to(forecasting.table, part)
        assert forecasting.forecaster.forecast(applied, Outputs()) == names


def test_a_flush_enters_neither_digest_nor_history() -> None:
    """The newest state is published off the grid, but its time depends on the polls."""
    forecasting = Forecasting(every_s=60)
    for _ in applied_to(forecasting.table, seconds()):
        pass
    digest = forecasting.digest()
    (record,) = forecasting.flush("A").features
    assert decoded(record) == expected(seconds(), MODEL)
    stored = dict(record.headers)[STATE_HEADER]
    assert stored == forecasting.table.stored(forecasting.table.row("A"))
    assert (record.partition, dict(record.headers)["volsvc-offset"]) == (PARTITION, b"41")
    assert forecasting.observed == []
    assert forecasting.digest() == digest
    assert forecasting.table.get("A").forecast_history.forecasts(10) == []


def test_nobody_need_observe() -> None:
    """Without an observer the forecasts are published all the same."""
    forecasting = Forecasting(observe=None)
    assert len(forecasting.apply(seconds(1)).features) == 1


@pytest.mark.parametrize("horizon_s", [60.0, 300.0, 120.0, 7_200.0])
def test_the_score_is_that_of_the_configured_horizon(horizon_s: float) -> None:
    """A horizon beside the fitted ones is forecast as well, in its order."""
    forecasting = Forecasting(horizon_s=horizon_s)
    forecasting.apply(seconds())
    forecasting.updated("A")
    snapshot = forecasting.store.get("A").snapshot
    horizons = [prediction.horizon_s for prediction in snapshot.predictions]
    assert horizons == sorted({*HORIZONS_S, horizon_s})
    assert snapshot.score == snapshot.predictions[horizons.index(horizon_s)].score
    assert snapshot == expected(seconds(), MODEL, horizon_s)


def test_the_usual_horizon_is_a_minute() -> None:
    """Without a configured horizon the score is that of the first fitted one."""
    forecasting = Forecasting()
    forecasting.apply(seconds())
    forecasting.updated("A")
    snapshot = forecasting.store.get("A").snapshot
    assert snapshot.score == snapshot.predictions[0].score
    assert len(snapshot.predictions) == len(HORIZONS_S)


@pytest.mark.parametrize("variant", ["ml", "baseline"])
def test_model_calls_are_timed_by_variant(variant: str) -> None:
    """One call for all points is timed, in seconds, of the model that serves."""
    forecasting = Forecasting(variant=variant)
    for symbol in "AB":
        for _ in applied_to(forecasting.table, seconds(5, symbol)):
            pass
    started = time.perf_counter()
    forecasting.updated("A", "B")
    assert forecasting.timed(variant) == 1
    assert forecasting.store.get("B").snapshot.variant == variant
    name, labels = "volsvc_inference_duration_seconds_sum", {"variant": variant}
    duration_s = forecasting.metrics.registry.get_sample_value(name, labels)
    assert duration_s is not None
    assert 0 < duration_s <= time.perf_counter() - started


def run_minutes(forecasting: Forecasting) -> list[OutRecord]:
    """Forecast at the ends of some minutes and on the grid; return the outcomes to publish."""
    return forecasting.apply([tick(second) for second in range(0, 60 * MINUTES, 5)]).outcomes


@pytest.mark.parametrize(
    ("fitted", "variant", "serving", "shadow"),
    [
        (MODEL, "ml", MODEL, BASELINE),
        (MODEL, "baseline", BASELINE, MODEL),
        # The baseline answers for a model that fails, and has no shadow then.
        (BrokenModel(), "ml", BASELINE, None),
        # A shadow that fails is left out.
        (BrokenModel(), "baseline", BASELINE, None),
    ],
)
def test_minutes_score_the_model_and_its_shadow(
    fitted: Model, variant: str, serving: Model, shadow: Model | None
) -> None:
    """Outcomes, calibrations, scores and the digest are those of learning point by point."""
    forecasting = Forecasting(fitted, variant)
    outcomes = run_minutes(forecasting)
    reference, matured = SymbolTable(FeatureSettings()), list[OutRecord]()
    for second in range(0, 60 * MINUTES, 5):
        for applied in applied_to(reference, [tick(second)]):
            for index in range(len(applied.points)):
                point = applied.points[index : index + 1]
                forecasts = SymbolForecasts(reference, serving, point, HORIZONS_S, shadow)
                matured += map(encode_outcome, forecasts.settle_all())
                chain = reference.digest(int(point["symbol"][0]))
                if point["kind"][0] == MINUTE:
                    chain.close(int(point["bar"]["minute"][0]), point["bar"].tobytes())
                else:
                    chain.add_forecast(forecasts.point_forecast(0, HORIZONS_S[0]))
    learnt = [table.get("A").record.learnt for table in (forecasting.table, reference)]
    assert learnt[0].tobytes() == learnt[1].tobytes()
    daily = [table.daily[table.row("A")].tolist() for table in (forecasting.table, reference)]
    assert daily[0] == daily[1]
    assert outcomes == matured
    assert len(matured) >= (MINUTES - 2) * (1 if shadow is None else 2)
    assert all(one.variant == serving.variant for one in forecasting.observed)


def test_shadows_may_be_disabled() -> None:
    """Without a shadow only the serving model is scored."""
    forecasting = Forecasting(shadow=False)
    outcomes = run_minutes(forecasting)
    scores = forecasting.table.get("A").scores
    assert scores.newest_prediction_id("ml") is not None
    assert scores.newest_prediction_id("baseline") is None
    variants = {msgspec.json.decode(record.value or b"")["model_variant"] for record in outcomes}
    assert variants == {"ml"}
