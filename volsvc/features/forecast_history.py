"""Recent forecasts of a symbol and matured ones, for charts.

Like the history of rows it is a convenience: features and forecasts do not depend on it, and it is
empty after a restart.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np

from volsvc.domain import NS, Outcome, PointForecast, format_time
from volsvc.features.rings import Ring

# Seconds of event time from one kept forecast to the next.
EVERY_S: Final = 10
# An hour of forecasts.
FORECASTS: Final = 360
# Nearly two hours of both variants at every horizon.
OUTCOMES: Final = 512

# `horizon` is in minutes, `model` an index in `_models`.
_OUTCOME = np.dtype(
    [
        ("minute", "i4"),
        ("horizon", "i2"),
        ("model", "i2"),
        ("numbers", "f4", (4,)),
        ("covered", "?"),
    ]
)


class ForecastHistory:
    """Ring buffers of forecasts, one every `EVERY_S` of event time, and of matured forecasts.

    Numbers have six digits.
    """

    __slots__ = ("_forecasts", "_horizons", "_max_rows", "_models", "_outcomes", "_step")

    def __init__(self, max_rows: int) -> None:
        """Start empty; no ring is longer than `max_rows`."""
        self._max_rows = max_rows
        self._step = -1
        self._models: list[tuple[str, str]] = []
        self._horizons: tuple[float, ...] = ()
        self._forecasts: Ring | None = None
        self._outcomes: Ring | None = None

    def add_forecast(self, forecast: PointForecast) -> None:
        """Add a forecast; only the first of each step of event time is kept."""
        row = forecast.row
        step = row.time_ns // (EVERY_S * NS)
        if step == self._step:
            return
        self._step = step
        ring = self._ring(forecast.horizons_s)
        numbers = [(sigma, lo, hi, score) for sigma, lo, hi, _, score in forecast.numbers]
        model = self._model(forecast.variant, forecast.version)
        ring.put((row.time_ns, row.price, forecast.quality.gaps, model, numbers))

    def add_outcome(self, outcome: Outcome) -> None:
        """Add a forecast that has matured."""
        if self._outcomes is None:
            self._outcomes = Ring(min(self._max_rows, OUTCOMES), _OUTCOME)
        issued = outcome.issued
        model = self._model(issued.variant, issued.version)
        numbers = (issued.sigma, issued.lo, issued.hi, outcome.realised)
        horizon = issued.horizon_minutes
        self._outcomes.put((issued.minute, horizon, model, numbers, outcome.covered))

    def forecasts(self, limit: int) -> list[dict[str, Any]]:
        """Return the newest forecasts, oldest first, as JSON fields (`schemas.PastForecast`)."""
        if self._forecasts is None:
            return []
        return [self._forecast(*row) for row in self._forecasts.rows(limit)]

    def outcomes(self, limit: int) -> list[dict[str, Any]]:
        """Return the newest matured forecasts, oldest first (JSON of `schemas.PastOutcome`)."""
        if self._outcomes is None:
            return []
        return [self._outcome(*row) for row in self._outcomes.rows(limit)]

    def _ring(self, horizons: tuple[float, ...]) -> Ring:
        if self._forecasts is None or horizons != self._horizons:
            shape = (len(horizons), 4)
            columns = [("time_ns", "i8"), ("price", "f8"), ("gaps", "i8"), ("model", "i2")]
            dtype = np.dtype([*columns, ("numbers", "f4", shape)])
            self._horizons = horizons
            self._forecasts = Ring(min(self._max_rows, FORECASTS), dtype)
        return self._forecasts

    def _model(self, variant: str, version: str) -> int:
        """Return the index of a model's name, which rows hold instead of the name."""
        name = (variant, version)
        if name not in self._models:
            self._models.append(name)
        return self._models.index(name)

    def _forecast(
        self, time_ns: int, price: float, gaps: int, model: int, numbers: list[list[float]]
    ) -> dict[str, Any]:
        variant, version = self._models[model]
        predictions = [
            {"horizon_s": horizon, **_named(("sigma", "lo", "hi", "score"), row)}
            for horizon, row in zip(self._horizons, numbers, strict=True)
        ]
        return {
            "time": format_time(time_ns),
            "price": price,
            "gaps": gaps,
            "model_variant": variant,
            "version": version,
            "predictions": predictions,
        }

    def _outcome(
        self, minute: int, horizon: int, model: int, numbers: list[float], covered: bool
    ) -> dict[str, Any]:
        variant, version = self._models[model]
        return {
            "issued": format_time((minute + 1) * 60 * NS),
            "matured": format_time((minute + 1 + horizon) * 60 * NS),
            "horizon_s": horizon * 60.0,
            "model_variant": variant,
            "version": version,
            **_named(("sigma", "lo", "hi", "realised"), numbers),
            "covered": covered,
        }


def _named(names: Iterable[str], numbers: Iterable[float]) -> dict[str, float]:
    # Single precision, which halves the memory; more digits would be noise.
    return {name: float(f"{number:.6g}") for name, number in zip(names, numbers, strict=True)}
