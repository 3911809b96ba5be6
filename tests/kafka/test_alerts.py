"""Tests that the loss of the broker raises an alert at a real receiver."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.daemon import running
from tests.kafka.broker import Broker, free_port
from tests.monitoring.rig import monitoring

pytestmark = pytest.mark.long


async def test_a_broker_that_is_away_alerts_until_it_is_back(
    own_broker: Broker, tmp_path: Path
) -> None:
    """Without its broker the service raises an alert, which is resolved when the broker starts."""
    port = free_port()
    env = {"VOLSVC_KAFKA__BOOTSTRAP_SERVERS": own_broker.bootstrap_servers}
    arguments = ("--transport", "kafka", "--port", str(port))
    async with (
        monitoring(tmp_path / "monitoring", [port]) as alerts,
        running(*arguments, env=env, cwd=tmp_path),
    ):
        await alerts.wait_for("firing", "VolsvcKafkaDisconnected")
        own_broker.start()
        await alerts.wait_for("resolved", "VolsvcKafkaDisconnected")
