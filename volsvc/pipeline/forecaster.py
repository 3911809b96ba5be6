"""Forecasts at points of event time, for readers of the latest store and for publication."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from volsvc.domain import NS, Snapshot
from volsvc.models import HORIZONS_S, MinuteClose, MinuteScoring, Model, Point, SymbolForecasts
from volsvc.pipeline.latest_store import LatestStore
from volsvc.pipeline.output_publisher import Outputs
from volsvc.serving.holder import ModelHolder
from volsvc.serving.model_choice import with_fallback
from volsvc.telemetry.metrics import Metrics
from volsvc.transport.codec import encode_features, encode_outcome


class DuePoint(NamedTuple):
    """A point to forecast; with a `state`, the dump after its tick, the forecast is published.

    `on_grid` marks points of the publishing grid. Event time alone determines these, so they enter
    the symbol's digest chain; a flush depends on the size of polls, and does not enter it.
    """

    point: Point
    state: Mapping[str, Any] | None
    on_grid: bool = False


class Forecaster:
    """Forecasts with the current model, and learns from the forecasts that have matured."""

    def __init__(
        self,
        holder: ModelHolder,
        latest_store: LatestStore,
        metrics: Metrics,
        writer: str,
        *,
        horizon_s: float = HORIZONS_S[0],
        observe: Callable[[Snapshot], None] | None = None,
    ) -> None:
        """`writer` is this process's identity in the features topic.

        `horizon_s` is the horizon whose score heads `/latest`. `observe` is called with every
        snapshot of the publishing grid.
        """
        self.latest_store = latest_store
        self._holder = holder
        self._metrics = metrics
        self._writer = writer
        self._horizon_s = horizon_s
        self._horizons = tuple(sorted({*HORIZONS_S, horizon_s}))
        self._observe = observe

    def forecast(self, due: Sequence[DuePoint], outputs: Outputs) -> None:
        """Forecast at points, update the latest store, and add the records to publish.

        The points of a symbol have to be in the order of its ticks.
        """
        if not due:
            return
        points = [item.point for item in due]
        started = time.perf_counter()
        model, forecasts = self._forecasts(points)
        duration = time.perf_counter() - started
        self._metrics.model.time_inference(model.variant).observe(duration)
        shadow = self._holder.shadow
        scoring = MinuteScoring(forecasts, shadow if shadow is not model else None, points)
        now_ns = time.time_ns()
        # One by one, because a snapshot reads its interval from the symbol's residuals, which the
        # minutes that closed before it have changed.
        for index, (point, state, on_grid) in enumerate(due):
            if isinstance(point, MinuteClose):
                scoring.learn(index)
                point.state.digest.close(point.ended.bar)
                continue
            snapshot = forecasts.snapshot(index, self._horizon_s)
            if state is None:
                self.latest_store.put(snapshot, now_ns / NS, point.state.offset)
                continue
            if on_grid:
                point.state.digest.add_forecast(snapshot)
                point.state.forecast_history.add_forecast(snapshot)
                if self._observe is not None:
                    self._observe(snapshot)
            # The dump is of the point's tick, but residuals, scores and digest move with the
            # forecasts, so they are taken here, after those of this point and before the next.
            stored = {**state, **point.state.dump_learnt()}
            outputs.features.append(encode_features(snapshot, stored, now_ns, self._writer))
        matured = scoring.outcomes
        outputs.outcomes += [encode_outcome(symbol, outcome) for symbol, outcome in matured]

    def _forecasts(self, points: Sequence[Point]) -> tuple[Model, SymbolForecasts]:
        """Return the current model's forecasts at points, or the baseline's if the model fails."""
        return with_fallback(
            self._holder.current, lambda model: SymbolForecasts(model, points, self._horizons)
        )
