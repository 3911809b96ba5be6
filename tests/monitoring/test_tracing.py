"""Spans of a real daemon, received over OTLP."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.daemon import command, eventually, running

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector:
    """A receiver of spans over HTTP, as OpenTelemetry's collector."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        """Handle one export."""
        body = ExportTraceServiceRequest.FromString(await request.read())
        for resource in body.resource_spans:
            for scope in resource.scope_spans:
                self.spans += scope.spans
        return web.Response(content_type="application/x-protobuf")

    def named(self, name: str) -> list[Span]:
        """Return the spans of a name."""
        return [span for span in self.spans if span.name == name]


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    """Yield a receiver on a free port."""
    found = Collector()
    application = web.Application()
    application.router.add_post("/v1/traces", found.take)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/traces"
    yield found
    await runner.cleanup()


async def test_a_request_continues_its_callers_trace(
    collector: Collector, minutes: Path, tmp_path: Path
) -> None:
    """Requests, model calls and batches of ticks are spans, each below its parent."""
    env = {
        "VOLSVC_TRACING__ENABLED": "true",
        "VOLSVC_TRACING__ENDPOINT": collector.url,
        "VOLSVC_TRACING__SAMPLE_RATIO": "1",
    }
    async with running("--path", str(minutes), "--speed", "max", env=env, cwd=tmp_path) as daemon:
        async with aiohttp.ClientSession(daemon.url) as client:
            headers = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
            body = {"rows": [{"ret_mean": 0.0, "ret_std": 3e-5, "n": 49}]}
            async with client.post("/predict", json=body, headers=headers) as response:
                assert response.status == 200

        async def came() -> bool:
            names = ("POST /predict", "predict", "publish ticks.raw", "process ticks.raw")
            return all(collector.named(name) for name in names)

        await eventually(came, 20, "every kind of span")
        assert await daemon.stop() == 0
    (served,) = collector.named("POST /predict")
    assert (served.trace_id.hex(), served.parent_span_id.hex()) == (TRACE, CALLER)
    (called,) = collector.named("predict")
    assert called.parent_span_id == served.span_id
    published = {span.span_id for span in collector.named("publish ticks.raw")}
    assert any(span.parent_span_id in published for span in collector.named("process ticks.raw"))


def test_disabled_tracing_imports_nothing(tmp_path: Path) -> None:
    """A daemon without tracing imports nothing of OpenTelemetry."""
    program = (
        "import sys; from volsvc.daemon.daemon import Daemon; "
        "from volsvc.config.settings import load_settings; "
        "Daemon(load_settings(None)); print([m for m in sys.modules if 'opentelemetry' in m])"
    )
    run = [sys.executable, "-c", program]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


async def test_a_collector_that_is_away_disturbs_nobody(tmp_path: Path) -> None:
    """Spans without a receiver are dropped; the service answers, and stops in time."""
    env = {
        "VOLSVC_TRACING__ENABLED": "true",
        "VOLSVC_TRACING__ENDPOINT": "http://127.0.0.1:9/v1/traces",
        "VOLSVC_TRACING__SAMPLE_RATIO": "1",
    }
    async with running("--source", "none", env=env, cwd=tmp_path) as daemon:
        status, _ = await daemon.predict(rows=[{"ret_mean": 0, "ret_std": 3e-5, "n": 49}])
        assert status == 200
        assert await daemon.stop() == 0


async def test_settings_are_checked(tmp_path: Path) -> None:
    """A ratio above 1 is refused, and the error names the key."""
    env = {"VOLSVC_TRACING__SAMPLE_RATIO": "2"}
    code, _, error = await command("run", env=env, cwd=tmp_path)
    assert (code, "tracing.sample_ratio" in error) == (2, True)
