"""Keys of `[source]` that apply to live venues only."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, Field, PositiveFloat, PositiveInt

from volsvc.config.base import Address

# Kinds of sources that are venues, not recordings.
VenueName = Literal["coinbase", "kraken"]
LIVE_KINDS = frozenset(get_args(VenueName))

WebSocketUrl = Annotated[Address, Field(pattern=r"^(wss?://[^/@\s]+.*)?$")]
RestUrl = Annotated[Address, Field(pattern=r"^(https?://[^/@\s]+.*)?$")]


class LiveSourceSettings(BaseModel):
    """Addresses, timeouts and back-fill of a live venue."""

    ws_url: WebSocketUrl = ""
    rest_url: RestUrl = ""
    feed: Literal["trades", "ticker"] = "trades"
    symbols_per_connection: PositiveInt = 50
    connect_timeout_s: PositiveFloat = 10.0
    confirm_timeout_s: PositiveFloat = 5.0
    heartbeat_timeout_s: PositiveFloat = 5.0
    data_timeout_s: PositiveFloat = 60.0
    reconnect_max_s: PositiveFloat = 1.5
    backfill: bool = True
    backfill_timeout_s: PositiveFloat = 3.0
    backfill_max_trades: PositiveInt = 10_000
    rest_per_s: PositiveFloat = 8.0
