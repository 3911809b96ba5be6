"""The JSON of a live symbol, shared by `/latest` and the events of `/stream`."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import msgspec

from volsvc.domain import NS, format_time
from volsvc.pipeline.latest_store import LatestEntry


def now_text() -> str:
    """Return the current time, to the millisecond."""
    return format_time(time.time_ns() // 1_000_000 * 1_000_000)


@dataclass(frozen=True, slots=True)
class FreshnessPolicy:
    """The rule by which a symbol's newest entry is stale.

    `live` is True for a live source, where the delay before processing counts too; `silent` are
    the symbols whose live feed is down.
    """

    stale_after_s: float
    live: bool
    silent: Collection[str]

    def age_s(self, entry: LatestEntry, now_s: float) -> float:
        """Return the seconds since the tick was processed; of a live feed, since it happened."""
        # The ticks of a recording are old by nature, so their event time says nothing about age.
        delay_s = max(0.0, entry.processed_s - entry.snapshot.row.time_ns / NS)
        return entry.age_s(now_s) + (delay_s if self.live else 0.0)

    def is_stale(self, entry: LatestEntry, now_s: float) -> bool:
        """Return True if the entry is too old or its feed is down."""
        silent = entry.snapshot.row.symbol in self.silent
        return silent or self.age_s(entry, now_s) > self.stale_after_s


def latest_json(entry: LatestEntry, now_s: float, freshness: FreshnessPolicy) -> msgspec.Raw:
    """Return the newest features and forecasts of a symbol as JSON (schema `LatestResponse`)."""
    # Only time and age differ between readers. The rest is encoded once and cached in the entry.
    if entry.encoded is None:
        entry.encoded = msgspec.json.encode(_constant_fields(entry))
    varying = {
        "symbol": entry.snapshot.row.symbol,
        "ts": now_text(),
        "age_s": round(freshness.age_s(entry, now_s), 6),
        "stale": freshness.is_stale(entry, now_s),
    }
    # Two JSON objects become one: the first without its "}", the second without its "{".
    return msgspec.Raw(msgspec.json.encode(varying)[:-1] + b"," + entry.encoded[1:])


def _constant_fields(entry: LatestEntry) -> dict[str, Any]:
    """Return the fields that are the same for every reader of the entry."""
    snapshot = entry.snapshot
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
