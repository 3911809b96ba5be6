"""The JSON of a track record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from volsvc.domain import HORIZON_MINUTES
from volsvc.scoring.scores import FITTED, REFERENCE
from volsvc.scoring.track_record import BINS, HALF_LIVES, TrackRecord

# Minutes before the first day from which the slowest EWMA starts.
EWMA_MINUTES: Final = 2 * HALF_LIVES[-1]


def record_fields(record: TrackRecord, horizons: Sequence[int]) -> list[dict[str, Any]]:
    """Return the fields of schema `HorizonRecord`, of horizons in minutes."""
    return [_horizon(record, HORIZON_MINUTES.index(horizon)) for horizon in horizons]


def _horizon(record: TrackRecord, index: int) -> dict[str, Any]:
    compared, losses, served = record.compared[index], record.qlike[index], record.served[index]
    best = int(np.argmin(losses.sum(axis=0)[2:]))
    columns = [0, 1, 2 + best]
    days = [
        {
            "day": str(np.datetime64(record.first_day + day, "D")),
            **_means(compared[day, columns], losses[day, columns], served[day]),
        }
        for day in range(len(compared))
        if served[day, 0]
    ]
    sums = [part.sum(axis=0) for part in (compared[:, columns], losses[:, columns], served)]
    return {
        "horizon_s": 60.0 * HORIZON_MINUTES[index],
        "ewma_half_life_s": 60.0 * HALF_LIVES[best],
        "total": _means(*sums),
        "days": days,
        "reliability": [_bin(place, *record.reliability[index, place]) for place in range(BINS)],
    }


def _means(counts: Any, losses: Any, served: Any) -> dict[str, Any]:
    """Return the fields of schema `RecordRow` of sums."""
    n, covered, brier = served.tolist()
    parts = zip((FITTED, REFERENCE, "ewma"), counts.tolist(), losses.tolist(), strict=True)
    return {
        "n": int(n),
        "qlike": {
            name: {"n": int(count), "mean": _mean(loss, count)} for name, count, loss in parts
        },
        "coverage": _mean(covered, n),
        "brier": _mean(brier, n),
    }


def _bin(place: int, n: float, scores: float, spikes: float) -> dict[str, Any]:
    return {
        "lo": place / BINS,
        "hi": (place + 1) / BINS,
        "n": int(n),
        "score": _mean(scores, n),
        "spikes": _mean(spikes, n),
    }


def _mean(total: float, n: float) -> float | None:
    return float(f"{total / n:.6g}") if n else None
