"""Settings of what watches over the service: drift and tracing."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from volsvc.config.base import Section


class DriftSettings(Section):
    """What inputs and scores are compared with, and how often; an empty path is the packaged."""

    enabled: bool = True
    reference: str = ""
    interval_s: Annotated[float, Field(ge=60)] = 86_400.0
    min_rows: Annotated[int, Field(ge=30)] = 720
    false_alarms_per_week: Annotated[float, Field(gt=0, le=7)] = 0.1


class TracingSettings(Section):
    """Spans for an OpenTelemetry collector."""

    enabled: bool = False
    endpoint: str = "http://127.0.0.1:4318/v1/traces"
    sample_ratio: Annotated[float, Field(ge=0, le=1)] = 0.1
