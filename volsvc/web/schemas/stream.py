"""Schemas of the events of GET /stream, by kind."""

from __future__ import annotations

from typing import Final, Literal

from volsvc.web.schemas.base import Answer, Time
from volsvc.web.schemas.live import LatestResponse


class Resync(Answer):
    """The newest of each symbol: the first event of a stream that is not resumed."""

    reason: Literal["start", "unknown-id"]
    ts: Time
    symbols: list[LatestResponse]


class Gap(Answer):
    """A gap in a feed: the symbol's `gaps` so far, or the trades or messages a venue has lost."""

    symbol: str
    at: Time | None = None
    gaps: int | None = None
    trades: int | None = None
    messages: int | None = None


class ModelChange(Answer):
    """A change of the active model, or the refusal of one, with the reason.

    `before` is the variant and version that were active before, such as `ml-1`.
    """

    kind: str
    trigger: str
    reason: str
    variant: str
    version: str
    before: str = ""
    fallback: bool


class DriftFound(Answer):
    """A completed drift check: the window's end, its rows, and the features that drifted."""

    end: Time
    drifted: list[str]
    rows: int


class Dropped(Answer):
    """The number of events dropped because this client reads more slowly than events come."""

    dropped: int


EventData = Resync | LatestResponse | Gap | ModelChange | DriftFound | Dropped
# The schema of each kind of event.
EVENTS: Final[dict[str, type[EventData]]] = {
    "resync": Resync,
    "forecast": LatestResponse,
    "gap": Gap,
    "model": ModelChange,
    "drift": DriftFound,
    "dropped": Dropped,
}
