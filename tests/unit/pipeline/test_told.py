"""The pipeline's word to operators: log entries, the check `ticks`, and the texts of metrics."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from tests.unit.pipeline.logged import ScriptedBus, record
from tests.unit.pipeline.test_consumer import Consuming, seconds
from volsvc.config.kafka import KafkaSettings
from volsvc.config.settings import FeatureSettings
from volsvc.features import SymbolTable
from volsvc.models import packaged
from volsvc.pipeline.consumer import Consumer
from volsvc.pipeline.features_follower import FeaturesFollower
from volsvc.pipeline.forecaster import Forecaster
from volsvc.pipeline.latest_store import LatestStore
from volsvc.pipeline.quality_metrics import score_families, sigma_family
from volsvc.serving.holder import ModelHolder
from volsvc.serving.model_choice import DesiredModel
from volsvc.telemetry.health import Health
from volsvc.telemetry.metrics import Metrics


async def test_states_that_a_new_topic_lacks_are_told() -> None:
    """One error names the topic, the reason and the number of states that follow."""
    consuming = Consuming(ScriptedBus([seconds(0, 3), seconds(0, 2, "B", 1), []]))
    await consuming.run()
    with capture_logs() as logs:
        consuming.consumer.topic_recreated("ticks.outcomes")
        consuming.consumer.topic_recreated("ticks.features")
    assert logs == [
        {
            "log_level": "error",
            "event": "states_lost",
            "topic": "ticks.features",
            "published_again": 2,
            "reason": "recreated",
        }
    ]


async def test_a_follower_tells_once_that_it_has_caught_up() -> None:
    """The entry has the topic; later quiet times are not told."""
    bus = ScriptedBus([[], []])
    with capture_logs() as logs:
        await FeaturesFollower(bus, KafkaSettings(), LatestStore()).run()
    assert logs == [{"log_level": "info", "event": "replica_caught_up", "topic": "ticks.features"}]


@pytest.mark.parametrize("given", [True, False])
async def test_a_stream_of_broken_records(given: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check `ticks` of the given health is degraded; without one the consumer goes on."""
    times = iter(range(0, 600, 60))
    clock = SimpleNamespace(time=lambda: next(times), strftime=lambda *_: "then", gmtime=float)
    monkeypatch.setattr("volsvc.pipeline.refused_ticks.time", clock)
    bus, metrics, health = ScriptedBus([[record(n, b"{")] for n in range(4)]), Metrics(), Health()
    holder = ModelHolder(DesiredModel("baseline", packaged().model))
    table = SymbolTable(FeatureSettings())
    forecaster = Forecaster(table, holder, LatestStore(), metrics, "writer#1")
    consumer = Consumer(
        bus, KafkaSettings(), table, forecaster, metrics, health=health if given else None
    )
    with capture_logs() as logs:
        await consumer.run()
    assert [entry["refused"] for entry in logs if entry["event"] == "no_tick_taken"] == [3]
    reported = {name: check.status for name, check in health.checks.items()}
    assert reported == ({"ticks": "degraded"} if given else {})


def test_the_texts_of_the_metrics() -> None:
    """Each family says on `/metrics` what its numbers are."""
    assert {one.name: one.documentation for one in [*score_families([]), sigma_family([])]} == {
        "volsvc_forecasts_judged": "Matured forecasts in the window",
        "volsvc_forecast_qlike": "Mean QLIKE of matured forecasts in the window",
        "volsvc_interval_coverage_ratio": "Share of outcomes inside the interval",
        "volsvc_forecast_sigma_annualised_ratio": (
            "The newest forecast of a symbol as a yearly volatility"
        ),
    }
