"""Keys of `[warmup]`: the bars from which a symbol without a past of its own is warmed."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveFloat, PositiveInt

from volsvc.config.base import Section


class WarmupSettings(Section):
    """The bars that a symbol sees before its first tick.

    With `auto` they come from `history` if that is given, else from the venue, or from the
    generator's own past. A tick waits for `deadline_s` at most.
    """

    source: Literal["auto", "venue", "file", "none"] = "auto"
    history: str = ""
    days: PositiveInt = 14
    parallel: PositiveInt = 4
    deadline_s: PositiveFloat = 20.0
