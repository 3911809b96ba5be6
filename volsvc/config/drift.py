"""Settings of the drift monitor."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from volsvc.config.base import Section


class DriftSettings(Section):
    """The reference and interval of the drift check; an empty path is the packaged reference."""

    enabled: bool = True
    reference: str = ""
    # Event time of a window. A window is judged only if a symbol has `min_rows` minutes in it.
    interval_s: Annotated[float, Field(ge=60)] = 86_400.0
    min_rows: Annotated[int, Field(ge=30)] = 720
    false_alarms_per_week: Annotated[float, Field(gt=0, le=7)] = 0.1
