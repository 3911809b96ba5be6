"""Spans for OpenTelemetry: requests, model calls, and ticks through the bus. Off by default.

Off is an object that does nothing, so a span then costs a call and no import.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Final, Literal, Protocol

import volsvc
from volsvc.config.settings import Settings, SettingsError

Headers = tuple[tuple[str, bytes], ...]
Kind = Literal["internal", "server", "producer", "consumer"]
TRACEPARENT: Final = "traceparent"
SHUTDOWN_MS: Final = 2_000


class Tracer(Protocol):
    """What begins spans."""

    def span(
        self,
        name: str,
        kind: Kind = "internal",
        attributes: Mapping[str, Any] | None = None,
        parent: str | None = None,
    ) -> AbstractContextManager[Any]:
        """A span around a block; `parent` is a W3C traceparent, else the span around this one."""
        ...

    def headers(self) -> Headers:
        """What a record has to carry for its reader to go on with the trace."""
        ...

    def close(self) -> None:
        """Send what waits, within two seconds."""
        ...


class Off:
    """Traces nothing."""

    _nothing: Final = contextlib.nullcontext()

    def span(
        self,
        name: str,
        kind: Kind = "internal",
        attributes: Mapping[str, Any] | None = None,
        parent: str | None = None,
    ) -> AbstractContextManager[Any]:
        """No span."""
        return self._nothing

    def headers(self) -> Headers:
        """None."""
        return ()

    def close(self) -> None:
        """Nothing to send."""


OFF: Final = Off()


class OpenTelemetry:
    """Sends spans to a collector by OTLP over HTTP, in a thread of its own."""

    def __init__(self, settings: Settings) -> None:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        named = {
            "service.name": "volsvc",
            "service.version": volsvc.__version__,
            "service.instance.id": settings.service.instance_id,
        }
        sampler = ParentBased(TraceIdRatioBased(settings.tracing.sample_ratio))
        self._provider = TracerProvider(resource=Resource.create(named), sampler=sampler)
        exporter = OTLPSpanExporter(endpoint=settings.tracing.endpoint, timeout=2)
        self._provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1_000))
        self._tracer = self._provider.get_tracer("volsvc", volsvc.__version__)
        self._kinds = {kind.name.lower(): kind for kind in trace.SpanKind}
        self._context = TraceContextTextMapPropagator()

    def span(
        self,
        name: str,
        kind: Kind = "internal",
        attributes: Mapping[str, Any] | None = None,
        parent: str | None = None,
    ) -> AbstractContextManager[Any]:
        """A span around a block."""
        context = self._context.extract({TRACEPARENT: parent}) if parent else None
        return self._tracer.start_as_current_span(
            name, context=context, kind=self._kinds[kind], attributes=attributes
        )

    def headers(self) -> Headers:
        """The traceparent of the span that we are in."""
        carrier: dict[str, str] = {}
        self._context.inject(carrier)
        return tuple((key, value.encode()) for key, value in carrier.items())

    def close(self) -> None:
        """Send what waits, within two seconds."""
        self._provider.force_flush(SHUTDOWN_MS)
        self._provider.shutdown()


def build_tracer(settings: Settings) -> Tracer:
    """The configured tracer; raises SettingsError when its extra is not installed."""
    if not settings.tracing.enabled:
        return OFF
    try:
        return OpenTelemetry(settings)
    except ImportError as error:
        raise SettingsError(
            "tracing.enabled = True: needs an extra: pip install 'volsvc[tracing]'"
        ) from error


def parent_of(headers: Iterable[tuple[str, bytes]]) -> str | None:
    """The traceparent among a record's headers."""
    return next((v.decode(errors="replace") for k, v in headers if k == TRACEPARENT), None)
