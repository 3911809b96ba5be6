"""Learning and judging at the ends of minutes: the model that serves, and its shadow beside it."""

from __future__ import annotations

from collections.abc import Sequence

from volsvc.domain import Outcome
from volsvc.models.base import HORIZONS_S, Model, ModelError
from volsvc.models.symbol_forecasts import MinuteClose, Point, SymbolForecasts


class Scoring:
    """What a batch of moments brings for calibration and scores, in their order.

    The shadow forecasts at the ends of minutes alone, where it is judged; nobody waits for it and a
    shadow that fails is left out. `outcomes` fill as moments are learnt from, with their symbols.
    """

    def __init__(
        self, serving: SymbolForecasts, shadow: Model | None, points: Sequence[Point]
    ) -> None:
        self.outcomes: list[tuple[str, Outcome]] = []
        self._serving = serving
        self._points = points
        ended = [index for index, point in enumerate(points) if isinstance(point, MinuteClose)]
        self._places = {index: place for place, index in enumerate(ended)}
        self._shadow = _shadow_of(shadow, [points[index] for index in ended])

    def learn(self, index: int) -> None:
        """The end of a minute: judge what has matured, learn from it, issue the next forecasts."""
        point = self._points[index]
        assert isinstance(point, MinuteClose), "only the end of a minute is learnt from"
        scores = point.state.scores
        for settled in point.ended.settled:
            judged = scores.settle(settled.minute, settled.log_realised)
            point.state.forecast_history.judge(judged)
            self.outcomes += [(point.state.symbol, outcome) for outcome in judged]
        self._serving.learn(index)
        self._serving.issue(index)
        if self._shadow is not None:
            place = self._places[index]
            self._shadow.learn(place)
            self._shadow.issue(place)


def _shadow_of(model: Model | None, points: Sequence[Point]) -> SymbolForecasts | None:
    if model is None or not points:
        return None
    try:
        return SymbolForecasts(model, points, HORIZONS_S)
    except ModelError:
        return None
