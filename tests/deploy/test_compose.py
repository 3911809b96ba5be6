"""The services of deploy/compose.yaml, started without containers."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

from tests.daemon import eventually
from tests.deploy.composition import ROOT, Composition, example_variables
from tests.monitoring.rig import Notifications, receiver
from volsvc.commands.files import generate_file

pytestmark = pytest.mark.long

SYMBOLS = ("BTC-USD", "ETH-USD")
ROW = {"ret_mean": 1e-6, "ret_std": 3e-5, "n": 49, "span_s": 10.0}
INSTANCES: dict[str, Sequence[str]] = {
    "one": ("volsvc",),
    "group": ("feed", "volsvc-1", "volsvc-2", "volsvc-3"),
}


class Running(NamedTuple):
    """A started composition, its instances, a client's key, and the alerts that were received."""

    composition: Composition
    instances: Sequence[str]
    key: str
    alerts: Notifications

    async def ask(self, service: str, inside: int, path: str, key: str = "", **body: Any) -> Any:
        """Return status and JSON of an answer; status 0 without a connection."""
        url = f"http://127.0.0.1:{self.composition.port(service, inside)}{path}"
        headers = {"X-API-Key": key} if key else {}
        method = "POST" if body else "GET"
        try:
            async with aiohttp.request(method, url, headers=headers, json=body or None) as response:
                return response.status, await response.json(content_type=None)
        except aiohttp.ClientError:
            return 0, {}

    async def is_ready(self, instance: str) -> None:
        """Wait until an instance has loaded its kernels."""

        async def ready() -> bool:
            status, _ = await self.ask(instance, 8000, "/health/ready")
            return bool(status == 200)

        await eventually(ready, 60, f"{instance} to be ready")

    async def predicts(self, instance: str) -> tuple[int, str]:
        """Return the status of a POST /predict, and the variant that answered."""
        status, answer = await self.ask(instance, 8000, "/predict", self.key, rows=[ROW])
        return status, answer.get("model_variant", "")


@pytest.fixture
def deployment(tmp_path: Path) -> Path:
    """Return a copy of deploy/ with its secrets generated, and a recording to replay."""
    folder = tmp_path / "deploy"
    shutil.copytree(ROOT / "deploy", folder, ignore=shutil.ignore_patterns("secrets", "data"))
    subprocess.run(["sh", folder / "secrets.sh"], check=True, capture_output=True)
    path = folder / "data" / "ticks.ndjson.gz"
    path.parent.mkdir()
    generate_file(path, minutes=5, seed=3, symbols=SYMBOLS, start="2026-01-05T14:00:00Z")
    return folder


@pytest.fixture(params=["one", "group"])
async def running(request: pytest.FixtureRequest, deployment: Path) -> AsyncIterator[Running]:
    """Run every service of a profile but Grafana, with alerts sixty times as fast."""
    instances = INSTANCES[request.param]
    async with receiver() as (alerts, hook):
        variables = {
            **example_variables(),
            "COMPOSE_PROFILES": request.param,
            "TARGETS": ",".join(f"{name}:8000" for name in instances),
            "DATA_FILE": "/data/ticks.ndjson.gz",
            "REPLAY_SPEED": "max",
            "PAGE_URL": f"{hook}/page",
            "TICKET_URL": f"{hook}/ticket",
            "REHEARSAL": "60",
        }
        composition = Composition(deployment / "compose.yaml", deployment, variables)
        try:
            await composition.up()
            key = (deployment / "secrets" / "client.key").read_text()
            yield Running(composition, instances, key, alerts)
        finally:
            await composition.stop()


async def test_ticks_flow_alerts_arrive_and_the_variant_rolls_back(running: Running) -> None:
    """A replay becomes answers, targets are up, a dead instance pages, MODEL_VARIANT rolls back."""
    composition, last = running.composition, running.instances[-1]
    for name in running.instances:
        await answers_for_all(running, name)
    assert (await running.ask(last, 8000, "/latest"))[0] == 401
    assert await running.predicts(last) == (200, "ml")
    await every_target_is_up(running)
    await models_are_entered(running)

    await composition.end(last, signal.SIGKILL)
    await running.alerts.wait_for("firing", "VolsvcDown")
    assert running.alerts.paths["VolsvcDown"] == "/page"
    await composition.recreate(last, MODEL_VARIANT="baseline")
    await running.is_ready(last)
    assert await running.predicts(last) == (200, "baseline")
    await running.alerts.wait_for("resolved", "VolsvcDown")
    await composition.recreate(last, MODEL_VARIANT="ml")
    await running.is_ready(last)
    assert await running.predicts(last) == (200, "ml")
    await answers_for_all(running, last)


async def answers_for_all(running: Running, instance: str) -> None:
    """Wait until an instance has the last tick of every symbol."""

    async def has() -> bool:
        _, answer = await running.ask(instance, 8000, "/latest", running.key)
        newest = {each["symbol"]: each["as_of"] for each in answer.get("symbols", ())}
        ended = all(at > "2026-01-05T14:04:50" for at in newest.values())
        return set(newest) == set(SYMBOLS) and ended

    await eventually(has, 60, f"{instance} answers for all: {running.composition.log(instance)}")


async def every_target_is_up(running: Running) -> None:
    """Wait until Prometheus scrapes every instance, with its key."""

    async def up() -> bool:
        _, answer = await running.ask("prometheus", 9090, "/api/v1/targets")
        targets = answer.get("data", {}).get("activeTargets", ())
        found = [target["health"] for target in targets]
        return found == ["up"] * len(running.instances)

    await eventually(up, 30, "every target is up")


async def models_are_entered(running: Running) -> None:
    """Wait until the registry has both packaged models, under their aliases."""
    path = "/api/2.0/mlflow/registered-models/get?name=volsvc"

    async def entered() -> bool:
        status, answer = await running.ask("mlflow", 5000, path)
        aliases = answer.get("registered_model", {}).get("aliases", ()) if status == 200 else ()
        return {each["alias"] for each in aliases} == {"baseline", "ml"}

    await eventually(entered, 60, "the models are entered")
