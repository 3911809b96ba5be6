"""Settings of tracing."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from volsvc.config.base import Address, Section


class TracingSettings(Section):
    """Export of spans to an OpenTelemetry collector."""

    enabled: bool = False
    endpoint: Address = "http://127.0.0.1:4318/v1/traces"
    sample_ratio: Annotated[float, Field(ge=0, le=1)] = 0.1
