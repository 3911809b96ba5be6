"""The health of a daemon and of its parts."""

from volsvc.telemetry.health import Health


def test_health_is_the_worst_of_its_parts() -> None:
    """The worst check gives the status; `report` is true only for a change of status."""
    health = Health()
    assert health.report("kafka", "degraded", "away")
    assert not health.report("kafka", "degraded", "still away")
    health.report("model", "ok")
    worst = [health.status]
    health.report("consumer", "fail", "gone")
    worst.append(health.status)
    assert worst == ["degraded", "fail"]


def test_a_daemon_is_ready_between_its_start_and_its_end() -> None:
    """It gets no requests while it starts or drains, nor after a part has failed for good."""
    health = Health()
    reasons = [health.unready]
    health.ready = True
    health.report("kafka", "degraded", "away")
    reasons.append(health.unready)
    health.report("consumer", "fail", "partitions")
    reasons.append(health.unready)
    health.draining = True
    reasons.append(health.unready)
    assert reasons == ["starting", "", "consumer: partitions", "draining"]
