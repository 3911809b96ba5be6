"""What was lately said of a symbol, and how it turned out: what charts are drawn from.

A convenience like the history: features and forecasts do not rest on it, and a restart begins anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np

from volsvc.domain import NS, Outcome, Snapshot, format_time
from volsvc.features.history import Ring

# Seconds of event time from one kept forecast to the next.
EVERY_S: Final = 10
# An hour of them.
FORECASTS: Final = 360
# Nearly two hours of both variants at every horizon.
OUTCOMES: Final = 512

_OUTCOME = np.dtype(
    [("minute", "i4"), ("ahead", "i2"), ("model", "i2"), ("said", "f4", (4,)), ("covered", "?")]
)


class ForecastHistory:
    """Rings of forecasts, one each `EVERY_S` of event time, and of judged ones, to six digits."""

    __slots__ = ("_forecasts", "_horizons", "_models", "_most", "_outcomes", "_step")

    def __init__(self, most: int) -> None:
        """No ring is longer than `most`."""
        self._most = most
        self._step = -1
        self._models: list[tuple[str, str]] = []
        self._horizons: tuple[float, ...] = ()
        self._forecasts: Ring | None = None
        self._outcomes: Ring | None = None

    def see(self, snapshot: Snapshot) -> None:
        """Keep the first forecast of each step of event time."""
        step = snapshot.row.time_ns // (EVERY_S * NS)
        if step == self._step:
            return
        self._step = step
        ring = self._ring(snapshot)
        said = [(p.sigma, p.lo, p.hi, p.score) for p in snapshot.predictions]
        model = self._model(snapshot.variant, snapshot.version)
        row = snapshot.row
        ring.put((row.time_ns, row.price, snapshot.quality.gaps, model, said))

    def judge(self, outcomes: Iterable[Outcome]) -> None:
        """Keep forecasts that have matured."""
        for outcome in outcomes:
            if self._outcomes is None:
                self._outcomes = Ring(min(self._most, OUTCOMES), _OUTCOME)
            said = outcome.issued
            model = self._model(said.variant, said.version)
            numbers = (said.sigma, said.lo, said.hi, outcome.realised)
            self._outcomes.put((said.minute, said.ahead, model, numbers, outcome.covered))

    def forecasts(self, limit: int) -> list[dict[str, Any]]:
        """The newest forecasts, oldest first, as JSON fields (`schemas.PastForecast`)."""
        if self._forecasts is None:
            return []
        return [self._forecast(*row) for row in self._forecasts.rows(limit)]

    def outcomes(self, limit: int) -> list[dict[str, Any]]:
        """The newest judged forecasts, oldest first, as JSON fields (`schemas.PastOutcome`)."""
        if self._outcomes is None:
            return []
        return [self._outcome(*row) for row in self._outcomes.rows(limit)]

    def _ring(self, snapshot: Snapshot) -> Ring:
        horizons = tuple(p.horizon_s for p in snapshot.predictions)
        if self._forecasts is None or horizons != self._horizons:
            shape = (len(horizons), 4)
            columns = [("time_ns", "i8"), ("price", "f8"), ("gaps", "i8"), ("model", "i2")]
            dtype = np.dtype([*columns, ("said", "f4", shape)])
            self._horizons = horizons
            self._forecasts = Ring(min(self._most, FORECASTS), dtype)
        return self._forecasts

    def _model(self, variant: str, version: str) -> int:
        """The place of a model's name, which stands in each row."""
        name = (variant, version)
        if name not in self._models:
            self._models.append(name)
        return self._models.index(name)

    def _forecast(
        self, time_ns: int, price: float, gaps: int, model: int, said: list[list[float]]
    ) -> dict[str, Any]:
        variant, version = self._models[model]
        predictions = [
            {"horizon_s": horizon, **_named(("sigma", "lo", "hi", "score"), numbers)}
            for horizon, numbers in zip(self._horizons, said, strict=True)
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
        self, minute: int, ahead: int, model: int, said: list[float], covered: bool
    ) -> dict[str, Any]:
        variant, version = self._models[model]
        return {
            "issued": format_time((minute + 1) * 60 * NS),
            "matured": format_time((minute + 1 + ahead) * 60 * NS),
            "horizon_s": ahead * 60.0,
            "model_variant": variant,
            "version": version,
            **_named(("sigma", "lo", "hi", "realised"), said),
            "covered": covered,
        }


def _named(names: Iterable[str], numbers: Iterable[float]) -> dict[str, float]:
    # Kept in half the bytes: more digits than these would be noise.
    return {name: float(f"{number:.6g}") for name, number in zip(names, numbers, strict=True)}
