"""A real Prometheus and a real Alertmanager on loopback, and a webhook for their alerts."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import web

from tests.daemon import eventually
from tests.kafka.broker import free_port
from tests.needs import need
from volsvc.monitoring.dashboards import read_dashboards
from volsvc.monitoring.files import write
from volsvc.monitoring.spec import read_spec

DEPLOY = Path(__file__).parents[2] / "deploy"
FASTER = 60
STALE = "(volsvc_forecast_age_seconds) > 60"
START_S = 20.0


class Notifications:
    """The notifications of a receiver: the states of each alert in order, by name and slo."""

    def __init__(self) -> None:
        self.states: dict[str, list[str]] = defaultdict(list)
        self.paths: dict[str, str] = {}

    async def take(self, request: web.Request) -> web.Response:
        """Handle one notification."""
        for alert in (await request.json())["alerts"]:
            labels = alert["labels"]
            name = " ".join(filter(None, (labels["alertname"], labels.get("slo"))))
            self.states[name].append(alert["status"])
            self.paths[name] = request.path
        return web.Response()

    async def wait_for(self, status: str, *names: str, within_s: float = 60) -> None:
        """Wait until the newest state of each alert is this status."""

        async def reached() -> bool:
            return all(self.states[name][-1:] == [status] for name in names)

        def missing() -> str:
            return f"{status}: {names}, received: {dict(self.states)}"

        try:
            await eventually(reached, within_s, status)
        except AssertionError as error:
            raise AssertionError(missing()) from error


@asynccontextmanager
async def program(*command: str, ready: str) -> AsyncIterator[None]:
    """Run a program until the end of the block, once `ready`, a URL, answers 200."""
    need(command[0])
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with aiohttp.ClientSession() as client:

            async def answers() -> bool:
                assert process.returncode is None, f"{command[0]} has ended"
                try:
                    async with client.get(ready) as response:
                        return response.status == 200
                except aiohttp.ClientError:
                    return False

            await eventually(answers, START_S, f"{command[0]} is ready")
        yield
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def receiver() -> AsyncIterator[tuple[Notifications, str]]:
    """Yield the notifications of a webhook and its URL; the path below it is the severity."""
    notifications = Notifications()
    application = web.Application()
    application.router.add_post("/{severity}", notifications.take)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield notifications, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def monitoring(folder: Path, targets: Sequence[int]) -> AsyncIterator[Notifications]:
    """Run what deploy/ describes, sixty times as fast, over daemons on these ports."""
    prometheus, alertmanager = free_port(), free_port()
    async with AsyncExitStack() as stack:
        notifications, hook = await stack.enter_async_context(receiver())
        spec = read_spec(
            DEPLOY / "slo.yaml",
            faster=FASTER,
            targets=[f"127.0.0.1:{port}" for port in targets],
            alertmanagers=[f"127.0.0.1:{alertmanager}"],
            receivers={severity: f"{hook}/{severity}" for severity in ("page", "ticket")},
        )
        write(spec, read_dashboards(DEPLOY / "dashboards.yaml"), folder)
        rules = folder / "prometheus/rules.yml"
        text = rules.read_text()
        assert STALE in text
        rules.write_text(text.replace(STALE, STALE.replace("60", "3")))
        await stack.enter_async_context(
            program(
                "prometheus-alertmanager",
                f"--config.file={folder / 'alertmanager/alertmanager.yml'}",
                f"--storage.path={folder / 'alerts'}",
                f"--web.listen-address=127.0.0.1:{alertmanager}",
                "--cluster.listen-address=",
                ready=f"http://127.0.0.1:{alertmanager}/-/ready",
            )
        )
        await stack.enter_async_context(
            program(
                "prometheus",
                f"--config.file={folder / 'prometheus/prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'series'}",
                f"--web.listen-address=127.0.0.1:{prometheus}",
                ready=f"http://127.0.0.1:{prometheus}/-/ready",
            )
        )
        yield notifications
