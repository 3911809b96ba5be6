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
