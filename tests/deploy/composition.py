"""deploy/compose.yaml without a container engine: the same processes, arguments and environment.

Compose's own loader resolves the file. Then names of services become addresses of loopback, and
places inside containers become folders; nothing else is changed. A real Apache Kafka stands in for
Redpanda; Grafana, which cannot be run here, is left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
from dotenv import dotenv_values

from tests.daemon import eventually
from tests.deploy.image import Image, read_images
from tests.deploy.translation import Translation
from tests.kafka.broker import Broker
from tests.needs import LINTERS, need

ROOT = Path(__file__).parents[2]
BROKER, ABSENT = "redpanda", "grafana"
# The program that stands for an image, or an entry point, on this machine.
PROGRAMS: Mapping[str, Sequence[str]] = {
    "volsvc": (sys.executable, "-m", "volsvc"),
    "mlflow": (sys.executable, "-m", "mlflow"),
    "prom/prometheus": ("prometheus",),
    "prom/alertmanager": ("prometheus-alertmanager",),
    "python": (sys.executable,),
}
HEALTHY_S, COMPLETE_S, STOP_S = 60.0, 60.0, 15.0


def resolve(file: Path, variables: Mapping[str, str]) -> dict[str, Any]:
    """Return a compose file as `docker compose config` shows it; raises AssertionError."""
    need("the linters of deploy/")
    environment = {"PATH": os.environ["PATH"], **variables}
    done = subprocess.run(
        [LINTERS / "bin" / "compose", file], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    project: dict[str, Any] = json.loads(done.stdout)
    return project


def example_variables() -> dict[str, str]:
    """Return the variables that deploy/.env.example sets."""
    values = dotenv_values(ROOT / "deploy" / ".env.example")
    return {name: value or "" for name, value in values.items()}


class Composition:
    """The services of one profile, as processes."""

    def __init__(self, file: Path, folder: Path, variables: Mapping[str, str]) -> None:
        self._file, self._folder, self._variables = file, folder, dict(variables)
        self._project = resolve(file, variables)
        self._images = read_images()
        self._translation = Translation(self._project["services"])
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._broker = Broker(folder / BROKER)
        self._broker_runs = False
        self._translation.set_port(BROKER, 9092, self._broker.port)

    def port(self, service: str, inside: int) -> int:
        """Return the loopback port that stands for a container's."""
        return self._translation.port(service, inside)

    async def up(self) -> None:
        """Start every service of the profile, in the order of depends_on."""
        for name in self._project["services"]:
            if name != ABSENT:
                await self.start(name)

    async def start(self, name: str) -> None:
        """Start a service after its dependencies, unless it runs."""
        for other, dependency in self._service(name).get("depends_on", {}).items():
            await self.start(other)
            await self._reach(other, dependency["condition"])
        if name == BROKER and not self._broker_runs:
            await asyncio.to_thread(self._broker.start)
            self._broker_runs = True
        elif name != BROKER and name not in self._processes:
            self._processes[name] = await self._launch(name)

    async def recreate(self, name: str, **variables: str) -> None:
        """Restart a service with new variables, as `docker compose up` after an edit of .env."""
        if name in self._processes:
            assert await self.end(name) == 0, self.log(name)
        self._variables |= variables
        self._project = resolve(self._file, self._variables)
        await self.start(name)
        await self._reach(name, "service_healthy")

    async def end(self, name: str, number: int = signal.SIGTERM) -> int:
        """Stop a service, and return its exit code."""
        process = self._processes.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            async with asyncio.timeout(STOP_S):
                return await process.wait()
        except TimeoutError:
            os.killpg(process.pid, signal.SIGKILL)
            return await process.wait()

    async def stop(self) -> None:
        """Kill every running service."""
        for name in list(self._processes):
            await self.end(name, signal.SIGKILL)
        await asyncio.to_thread(self._broker.kill)

    async def healthy(self, name: str) -> bool:
        """Return whether the health check of the service, or of its image, succeeds."""
        check = self._service(name).get("healthcheck", {}).get("test") or self._image(name).health
        url = re.search(r"http://[^'\" ]+", " ".join(check))
        assert url is not None, f"{name} has no health check"
        try:
            async with aiohttp.request("GET", self._here(name, url[0])) as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async def _reach(self, name: str, condition: str) -> None:
        if name == BROKER or condition == "service_started":
            return
        if condition == "service_completed_successfully":
            async with asyncio.timeout(COMPLETE_S):
                assert await self._processes[name].wait() == 0, self.log(name)
        else:
            await eventually(lambda: self.healthy(name), HEALTHY_S, f"{name} is healthy")

    def log(self, name: str) -> str:
        """Return the output of a service."""
        return (self._folder / f"{name}.log").read_text()[-4_000:]

    async def _launch(self, name: str) -> asyncio.subprocess.Process:
        service, image = self._service(name), self._image(name)
        entry, *more = service["entrypoint"] or image.entrypoint or [service["image"].split(":")[0]]
        command = service["command"] or image.command
        variables = {**image.environment, **(service.get("environment") or {})}
        scratch = self._folder / "tmp" / name
        scratch.mkdir(parents=True, exist_ok=True)
        with (self._folder / f"{name}.log").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *PROGRAMS[entry],
                *(self._here(name, word) for word in (*more, *command)),
                env={
                    **{key: self._here(name, value) for key, value in variables.items()},
                    "PATH": os.environ["PATH"],
                    "TMPDIR": str(scratch),
                },
                cwd=scratch,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _service(self, name: str) -> dict[str, Any]:
        service: dict[str, Any] = self._project["services"][name]
        return service

    def _image(self, name: str) -> Image:
        return self._images[self._service(name).get("build", {}).get("target", "base")]

    def _here(self, name: str, text: str) -> str:
        return self._translation.word(name, text, dict(self._mounts(name)))

    def _mounts(self, name: str) -> Iterator[tuple[str, str]]:
        """Yield the paths inside a container with those on this machine."""
        service = self._service(name)
        for mount in service.get("volumes") or ():
            place = Path(mount["source"])
            if mount["type"] == "volume":
                place = self._folder / "volumes" / mount["source"]
                place.mkdir(parents=True, exist_ok=True)
            yield mount["target"], str(place)
        # Every secret: files that one service writes name those of another.
        for name, secret in self._project["secrets"].items():
            yield f"/run/secrets/{name}", secret["file"]
