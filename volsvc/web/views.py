"""What is said of a live symbol, in `/latest` and in the events of `/stream` alike."""

from __future__ import annotations

import time
from typing import Any

from volsvc.board import Posted
from volsvc.domain import format_time


def now_text() -> str:
    """The time now, to the millisecond."""
    return format_time(time.time_ns() // 1_000_000 * 1_000_000)


def latest_fields(posted: Posted, now_s: float, stale_after_s: float) -> dict[str, Any]:
    """The newest features and forecasts of a symbol as JSON fields (`schemas.LatestResponse`)."""
    snapshot = posted.snapshot
    row = snapshot.row
    age = posted.age_s(now_s)
    return {
        "symbol": row.symbol,
        "ts": now_text(),
        "as_of": format_time(row.time_ns),
        "age_s": round(age, 6),
        "stale": age > stale_after_s,
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
