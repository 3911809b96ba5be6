"""Forecasts of live symbols: one call of the model, then each symbol's calibration.

The daemon, batch scoring and training share this code: the forecasts of a symbol depend on its own
ticks and the model alone.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volsvc.domain import FeatureRow, Outcome, PointForecast
from volsvc.features import ResidualLaws, SymbolTable
from volsvc.features.kernels.calibration import POOLED_LAWS
from volsvc.features.kernels.points import BAR_ON_GRID
from volsvc.features.state import quality_of
from volsvc.models.base import Array, Model, ModelError, bracket
from volsvc.models.columns import HORIZONS_S
from volsvc.models.kernels.symbol_forecasts import (
    BASIS,
    HORIZON,
    MAX_OUTCOMES,
    NUMBERS,
    SYMBOL_MODEL,
    settle,
)
from volsvc.scoring.scores import (
    DIGEST_BYTES,
    OUTCOME,
    REFERENCE,
    VARIANTS,
    digest_bytes,
    outcome_of,
    prediction_id,
    version_bytes,
)

# Outcomes of one call; the rest comes with the next one.
_OUTCOMES = 4 * MAX_OUTCOMES


class SymbolForecasts:
    """The forecasts of a model at points of a table's symbols, in the order of event time.

    The shadow is the model that does not serve. It forecasts only at the ends of minutes, where it
    is scored beside the serving model. A shadow that fails is left out, since no answer depends on
    it.
    """

    def __init__(
        self,
        table: SymbolTable,
        model: Model,
        points: Any,
        horizons_s: Sequence[float],
        shadow: Model | None = None,
    ) -> None:
        """Call the models once for all `points` (POINT).

        `horizons_s` rise and contain HORIZONS_S. Raises ModelError if the model's forecasts are not
        finite.
        """
        self.points = points
        self.horizons_s = tuple(horizons_s)
        self._table = table
        self._model = model
        features = self._features = np.ascontiguousarray(points["features"])
        # The serving one, and the shadow if it has forecast.
        self.models = [model]
        variances = [model.variances(features, self.horizons_s)]
        if shadow is not None:
            found = self._shadow_variances(shadow, features)
            if found is not None:
                self.models.append(shadow)
                variances.append(found)
        self._variances = np.array(variances)
        self._models = _model_records(*self.models)
        self._horizons = _horizons(self.horizons_s)
        # By point: scores.NUMBERS of each horizon, and what they rest on.
        self.numbers = np.empty((len(points), len(self.horizons_s), NUMBERS))
        self._basis = np.zeros(len(points), BASIS)
        # Fields of an array are quick to read, those of a single record are not.
        self._own, self._issued = self._basis["own"], self._basis["issued"]
        self._outcomes = np.zeros(_OUTCOMES, OUTCOME)

    def _shadow_variances(self, shadow: Model, features: Array) -> Array | None:
        ended = self.points["kind"] <= BAR_ON_GRID
        if not np.count_nonzero(ended):
            return None
        found = np.full((len(features), len(self.horizons_s)), math.nan)
        try:
            found[ended] = shadow.variances(features[ended], self.horizons_s)
        except ModelError:
            return None
        return found

    def settle(self, first: int = 0, *, to_grid: bool = False) -> tuple[int, list[Outcome]]:
        """Learn from the ends of minutes and forecast at the other points, from `first` on.

        With `to_grid` this stops before a symbol moves on from a point of the publishing grid: its
        state is then the one to publish. Returns the first point that is left, and what has
        matured.
        """
        done, count = self._settle(first, to_grid=to_grid)
        return done, [self._outcome(outcome) for outcome in self._outcomes[:count]]

    def settle_all(self) -> list[Outcome]:
        """Learn and forecast at all points, and return what has matured."""
        done, outcomes = 0, []
        while done < len(self.points):
            done, matured = self.settle(done)
            outcomes += matured
        return outcomes

    def settle_without_outcomes(self) -> None:
        """Learn and forecast at all points; outcomes, each an object, would take longer by far."""
        done = 0
        while done < len(self.points):
            done, _ = self._settle(done)

    def _settle(self, first: int, *, to_grid: bool = False) -> tuple[int, int]:
        """Return the first point that is left, and the number of outcomes in `_outcomes`."""
        table = self._table
        done, count = settle(
            table.records,
            table.daily,
            self._models,
            self._horizons,
            self.points,
            self._variances,
            first,
            to_grid,
            self.numbers,
            self._basis,
            self._outcomes,
        )
        return done, count

    def _outcome(self, record: Any) -> Outcome:
        return outcome_of(record, self._table.symbol(int(record.symbol)))

    def at_minutes(self, ends: NDArray[np.intp]) -> tuple[Array, Array]:
        """Return what was issued at some ends of minutes that were settled.

        These are scores.NUMBERS of the fitted horizons by the model, of shape (ends, horizons,
        NUMBERS), and the volatilities by the shadow, of shape (ends, horizons): NaN without one.
        """
        fitted = [self.horizons_s.index(horizon) for horizon in HORIZONS_S]
        issued: Array = self.numbers[ends][:, fitted]
        if len(self.models) == 1:
            return issued, np.full(issued.shape[:2], math.nan)
        return issued, np.sqrt(self._variances[1, ends][:, fitted])

    def point_forecast(self, index: int, score_horizon_s: float) -> PointForecast:
        """Return the forecasts of a symbol at a point that was settled, of those with a tick."""
        symbols, rows, qualities = self._values
        symbol, model = symbols[index], self._model
        own, issued = self._own[index], int(self._issued[index])
        return PointForecast(
            FeatureRow(symbol, *rows[index]),
            # In a quarter of the room of a list.
            array("d", self._features[index].tobytes()),
            self.horizons_s,
            self.numbers[index].tolist(),
            score_horizon_s,
            model.variant,
            model.version,
            quality_of(qualities[index], "own" if own else "pooled"),
            prediction_id(symbol, issued, model.variant, model.version) if issued >= 0 else None,
        )

    @cached_property
    def _values(self) -> tuple[list[str], list[Any], list[Any]]:
        """Symbols, feature rows and qualities of all points."""
        # At once, since a field of a single record takes microseconds.
        points = self.points
        places, rows, qualities = (points[name].tolist() for name in ("symbol", "row", "quality"))
        return list(map(self._table.symbol, places)), rows, qualities


# Models hash by identity. The cache keeps them alive, so no other model gets the same identity.
@lru_cache(8)
def _model_records(*models: Model) -> NDArray[Any]:
    """Return models as the states of symbols know them, as an array of SYMBOL_MODEL."""
    records = np.zeros(len(models), SYMBOL_MODEL)
    for index, model in enumerate(models):
        record = records[index : index + 1]
        # Whatever the name of a fitted model, it is compared with the baseline.
        record["variant"] = 0 if model.variant == REFERENCE else len(VARIANTS) - 1
        try:
            record["version"] = version_bytes(model.version)
        except ValueError as error:
            raise ModelError(f"{model.variant}: {error}") from error
        record["laws"] = symbol_laws(model.digest, model.laws)
        record["spike_log_ratios"] = model.spike_log_ratios
    return records


def symbol_laws(digest: str, laws: Sequence[ResidualLaws]) -> Any:
    """Return what a symbol starts with under the model with a digest: one POOLED_LAWS."""
    record = np.zeros(1, POOLED_LAWS)
    record["digest"] = np.frombuffer(digest_bytes(digest), np.uint8, DIGEST_BYTES)
    record["quantiles"] = [law.quantiles for law in laws]
    # A symbol's own laws have no probability beyond their quantiles.
    record["cumulated"] = [law.cumulated - law.cumulated[:, :1] for law in laws]
    return record


@lru_cache(64)
def _horizons(horizons_s: tuple[float, ...]) -> Any:
    """Return horizons as an array of HORIZON."""
    records = np.zeros(len(horizons_s), HORIZON)
    for index, horizon_s in enumerate(horizons_s):
        distances = [abs(math.log(fitted / horizon_s)) for fitted in HORIZONS_S]
        records[index] = (horizon_s, *bracket(horizon_s), distances.index(min(distances)))
    return records
