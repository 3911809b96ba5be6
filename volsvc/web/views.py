"""What is said of a live symbol, in `/latest` and in the events of `/stream` alike."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import msgspec

from volsvc.domain import NS, format_time
from volsvc.pipeline.latest_store import LatestEntry


def now_text() -> str:
    """The time now, to the millisecond."""
    return format_time(time.time_ns() // 1_000_000 * 1_000_000)


@dataclass(frozen=True, slots=True)
class Freshness:
    """How old what is known of a symbol is, and whether that is too old.

    Of a `live` source the way to us counts too; `silent` are symbols whose live feed is down.
    """

    stale_after_s: float
    live: bool
    silent: Collection[str]

    def age_s(self, posted: LatestEntry, now_s: float) -> float:
        """Seconds since the tick was processed; of a live feed, since it happened."""
        under_way = max(0.0, posted.processed_s - posted.snapshot.row.time_ns / NS)
        return posted.age_s(now_s) + (under_way if self.live else 0.0)

    def stale(self, posted: LatestEntry, now_s: float) -> bool:
        """Whether it is older than it may be, or its feed is down."""
        silent = posted.snapshot.row.symbol in self.silent
        return silent or self.age_s(posted, now_s) > self.stale_after_s


def latest_json(posted: LatestEntry, now_s: float, freshness: Freshness) -> msgspec.Raw:
    """The newest features and forecasts of a symbol as JSON (`schemas.LatestResponse`).

    Its age moves on with every reader; the rest is written once.
    """
    if posted.written is None:
        posted.written = msgspec.json.encode(_settled(posted))
    moving = {
        "symbol": posted.snapshot.row.symbol,
        "ts": now_text(),
        "age_s": round(freshness.age_s(posted, now_s), 6),
        "stale": freshness.stale(posted, now_s),
    }
    return msgspec.Raw(msgspec.json.encode(moving)[:-1] + b"," + posted.written[1:])


def _settled(posted: LatestEntry) -> dict[str, Any]:
    snapshot = posted.snapshot
    row = snapshot.row
    return {
        "as_of": format_time(row.time_ns),
        "price": row.price,
        "ret_mean": row.ret_mean,
        "ret_std": row.ret_std,
        "n": row.n,
        "span_s": row.span_s,
        "score": snapshot.score,
        "prediction_id": snapshot.prediction_id,
        "model_variant": snapshot.variant,
        "version": snapshot.version,
        "predictions": [prediction.fields() for prediction in snapshot.predictions],
        "quality": snapshot.quality,
        "features": snapshot.features,
    }
