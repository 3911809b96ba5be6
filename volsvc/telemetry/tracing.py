"""OpenTelemetry spans of requests, model calls, and batches of ticks; disabled by default.

A disabled tracer is an object that does nothing, so that a span costs a call and no import.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Final, Literal, Protocol

import volsvc
from volsvc.config.settings import Settings, SettingsError
from volsvc.domain.extras import needs_extra

Headers = tuple[tuple[str, bytes], ...]
Kind = Literal["internal", "server", "producer", "consumer"]
TRACEPARENT: Final = "traceparent"
# A collector that is away must not use up service.shutdown_timeout_s.
SHUTDOWN_MS: Final = 2_000


class Tracer(Protocol):
    """A factory of spans."""

    def span(
        self,
        name: str,
        kind: Kind = "internal",
        attributes: Mapping[str, Any] | None = None,
        parent: str | None = None,
    ) -> AbstractContextManager[Any]:
        """Return a span as a context manager.

        `parent` is a W3C traceparent; the default is the enclosing span.
        """
        ...

    def headers(self) -> Headers:
        """Return the headers by which the reader of a record continues the trace."""
        ...

    def close(self) -> None:
        """Send pending spans, within two seconds."""
        ...


class DisabledTracer:
    """A tracer that does nothing."""

    _nothing: Final = contextlib.nullcontext()

    def span(
        self,
        name: str,
        kind: Kind = "internal",
        attributes: Mapping[str, Any] | None = None,
        parent: str | None = None,
    ) -> AbstractContextManager[Any]:
        """Return a context manager that does nothing."""
        return self._nothing

    def headers(self) -> Headers:
        """Return no header."""
        return ()

    def close(self) -> None:
        """Do nothing."""


OFF: Final = DisabledTracer()


class OpenTelemetryTracer:
    """A tracer that sends spans to a collector by OTLP over HTTP, in a thread of its own."""

    def __init__(self, settings: Settings) -> None:
        # Imported here, because a daemon without tracing loads nothing of OpenTelemetry.
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        resource = {
            "service.name": "volsvc",
            "service.version": volsvc.__version__,
            "service.instance.id": settings.service.instance_id,
        }
        # The ratio applies to traces that begin here; a caller's decision holds for its own.
        sampler = ParentBased(TraceIdRatioBased(settings.tracing.sample_ratio))
        self._provider = TracerProvider(resource=Resource.create(resource), sampler=sampler)
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
        """Return a span as a context manager."""
        context = self._context.extract({TRACEPARENT: parent}) if parent else None
        return self._tracer.start_as_current_span(
            name, context=context, kind=self._kinds[kind], attributes=attributes
        )

    def headers(self) -> Headers:
        """Return the traceparent of the current span."""
        carrier: dict[str, str] = {}
        self._context.inject(carrier)
        return tuple((key, value.encode()) for key, value in carrier.items())

    def close(self) -> None:
        """Send pending spans, within two seconds."""
        self._provider.force_flush(SHUTDOWN_MS)
        self._provider.shutdown()


def build_tracer(settings: Settings) -> Tracer:
    """Return the configured tracer; raises SettingsError if its extra is not installed."""
    if not settings.tracing.enabled:
        return OFF
    try:
        return OpenTelemetryTracer(settings)
    except ImportError as error:
        raise SettingsError(needs_extra("tracing.enabled = True:", "opentelemetry")) from error


def parent_of(headers: Iterable[tuple[str, bytes]]) -> str | None:
    """Return the traceparent among a record's headers, or None."""
    return next((v.decode(errors="replace") for k, v in headers if k == TRACEPARENT), None)
