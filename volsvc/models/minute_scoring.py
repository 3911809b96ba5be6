"""Calibration and scores at the ends of minutes, of the serving model and its shadow."""

from __future__ import annotations

from collections.abc import Sequence

from volsvc.domain import Outcome
from volsvc.models.base import HORIZONS_S, Model, ModelError
from volsvc.models.symbol_forecasts import MinuteClose, Point, SymbolForecasts


class MinuteScoring:
    """Applies a batch of points to calibrations and scores, in their order.

    The shadow is the model that does not serve. It forecasts only at the ends of minutes, where it
    is scored beside the serving model. A shadow that fails is left out, since no answer depends on
    it. `outcomes` are the matured forecasts so far, with their symbols.
    """

    def __init__(
        self, serving: SymbolForecasts, shadow: Model | None, points: Sequence[Point]
    ) -> None:
        self.outcomes: list[tuple[str, Outcome]] = []
        self._serving = serving
        self._points = points
        ended = [index for index, point in enumerate(points) if isinstance(point, MinuteClose)]
        self._shadow_index = {index: position for position, index in enumerate(ended)}
        self._shadow = _shadow_of(shadow, [points[index] for index in ended])

    def learn(self, index: int) -> None:
        """Apply the end of a minute: score matured forecasts, calibrate, issue the next ones."""
        point = self._points[index]
        assert isinstance(point, MinuteClose), "only the end of a minute is learnt from"
        scores = point.state.scores
        for realised in point.ended.realised:
            outcomes = scores.mature(realised.minute, realised.log_realised)
            point.state.forecast_history.add_outcomes(outcomes)
            self.outcomes += [(point.state.symbol, outcome) for outcome in outcomes]
        # Calibrate first: the forecasts of this minute rest on residuals up to this minute.
        self._serving.learn(index)
        self._serving.issue(index)
        if self._shadow is not None:
            position = self._shadow_index[index]
            self._shadow.learn(position)
            self._shadow.issue(position)


def _shadow_of(model: Model | None, points: Sequence[Point]) -> SymbolForecasts | None:
    if model is None or not points:
        return None
    try:
        return SymbolForecasts(model, points, HORIZONS_S)
    except ModelError:
        return None
