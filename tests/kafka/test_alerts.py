"""A broker that is away is an alert at a real receiver, until it is back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.daemon import running
from tests.kafka.broker import Broker, free_port
from tests.monitoring.rig import monitoring


@pytest.mark.timeout(150)
async def test_a_broker_that_is_away_alerts_until_it_is_back(
    own_broker: Broker, tmp_path: Path
) -> None:
    """Started without its broker, the service alerts; when the broker comes, it is resolved."""
    port = free_port()
    env = {"VOLSVC_KAFKA__BOOTSTRAP_SERVERS": own_broker.bootstrap_servers}
    arguments = ("--transport", "kafka", "--port", str(port))
    async with (
        monitoring(tmp_path / "monitoring", [port]) as heard,
        running(*arguments, env=env, cwd=tmp_path),
    ):
        await heard.wait_for("firing", "VolsvcKafkaDisconnected")
        own_broker.start()
        await heard.wait_for("resolved", "VolsvcKafkaDisconnected")
