"""What the events of GET /stream carry, by their kind."""

from __future__ import annotations

from typing import Final, Literal

from volsvc.web.schemas.base import Answer, Time
from volsvc.web.schemas.live import LatestResponse


class Resync(Answer):
    """What is known of each symbol: the first event, unless the stream is one that goes on."""

    reason: Literal["start", "unknown-id"]
    ts: Time
    symbols: list[LatestResponse]


class Gap(Answer):
    """A feed lacks trades: `gaps` of the symbol so far, or how much a live venue has lost."""

    symbol: str
    at: Time | None = None
    gaps: int | None = None
    trades: int | None = None
    messages: int | None = None


class ModelChange(Answer):
    """What serves from now on, and why; or what was refused."""

    kind: str
    trigger: str
    reason: str
    variant: str
    version: str
    fallback: bool


class DriftFound(Answer):
    """A check of drift is done: the window's end, its rows, and the features that drifted."""

    end: Time
    drifted: list[str]
    rows: int


class Dropped(Answer):
    """So many events were left out because this client reads more slowly than news comes."""

    dropped: int


EventData = Resync | LatestResponse | Gap | ModelChange | DriftFound | Dropped
# Kinds of events, and what each carries.
EVENTS: Final[dict[str, type[EventData]]] = {
    "resync": Resync,
    "forecast": LatestResponse,
    "gap": Gap,
    "model": ModelChange,
    "drift": DriftFound,
    "dropped": Dropped,
}
