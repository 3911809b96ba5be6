"""Results of the service: feature rows, forecasts, outcomes and snapshots."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import msgspec

from volsvc.domain.feature_names import SCALE_NAMES, WINDOW_NAMES
from volsvc.domain.times import format_time

if TYPE_CHECKING:
    # The client imports this package, and must not need numpy.
    import numpy as np
    from numpy.typing import NDArray

# A Julian year: crypto markets never close.
SECONDS_PER_YEAR = 31_557_600

# Nominal probability of the central forecast interval.
COVERAGE = 0.9

# The fitted horizons, in minutes.
HORIZON_MINUTES: Final = (1, 5, 15, 60)

Verdict = Literal["ok", "warming", "cold", "degraded"]
# The residuals behind intervals and scores: those of all symbols, or mostly the symbol's own.
CalibrationSource = Literal["pooled", "own"]
# The origins of bars from which a symbol is warmed.
BarSource = Literal["venue", "file", "generator"]


class FeatureRow(NamedTuple):
    """The public features after one accepted tick.

    `ret_mean` and `ret_std` (ddof 1) are the mean and standard deviation of the `n` log returns
    inside the window, or 0.0 where they are not defined (n < 1, n < 2). `span_s` is the event time
    in seconds that the window covers.
    """

    symbol: str
    time_ns: int
    price: float
    ret_mean: float
    ret_std: float
    n: int
    span_s: float

    def fields(self) -> dict[str, Any]:
        """Return the row as JSON fields."""
        return {
            "symbol": self.symbol,
            "time": format_time(self.time_ns),
            "price": self.price,
            "ret_mean": self.ret_mean,
            "ret_std": self.ret_std,
            "n": self.n,
            "span_s": self.span_s,
        }


class Warmed(msgspec.Struct, frozen=True, gc=False, rename={"from_minute": "from"}):
    """The bars that a symbol has seen beside its ticks: their origin, first time and number."""

    source: BarSource
    from_minute: str
    minutes: int


class Quality(msgspec.Struct, frozen=True, gc=False):
    """Quality of the feed behind a forecast, as counts since the symbol's first tick.

    `ticks` counts the ticks behind the features; `future` counts those that were dead-lettered
    because their time was far ahead, and `bad_prints` those left out for their price. `warmed` is
    None for a symbol that saw ticks alone.
    """

    gaps: int
    duplicates: int
    late: int
    fill_ratio: float
    verdict: Verdict
    calibration: CalibrationSource = "pooled"
    future: int = 0
    ticks: int = 0
    bad_prints: int = 0
    warmed: Warmed | None = None


# Not frozen: that would be a tenth of the cost of a forecast of one row.
@dataclass(slots=True)
class Forecast:
    """Forecasts of many rows at one horizon, as arrays of shape (rows,).

    `sigma2` is the expected realised variance over the horizon. `lo` and `hi` are the bounds of the
    central `COVERAGE` interval of realised volatility. `p_spike` is the probability that realised
    volatility exceeds `threshold`.
    """

    horizon_s: float
    sigma2: NDArray[np.float64]
    p_spike: NDArray[np.float64]
    lo: NDArray[np.float64]
    hi: NDArray[np.float64]
    threshold: NDArray[np.float64]


class PredictionFields(msgspec.Struct, gc=False):
    """The forecast of one row at one horizon, with the names and the order that it has in JSON."""

    horizon_s: float
    sigma: float
    sigma_annualised: float
    lo: float
    hi: float
    coverage: float
    threshold: float
    score: float


class Prediction(msgspec.Struct, frozen=True, gc=False):
    """Forecast of one row at one horizon; volatilities are per sqrt(horizon), not annualised.

    `score` is the probability that realised volatility exceeds `threshold`.
    """

    horizon_s: float
    sigma: float
    lo: float
    hi: float
    threshold: float
    score: float

    @property
    def sigma_annualised(self) -> float:
        """Volatility of a year at the same rate."""
        return self.sigma * _root_of_year(self.horizon_s)

    def fields(self) -> PredictionFields:
        """Return the forecast as JSON fields."""
        numbers = (self.sigma, self.lo, self.hi, self.threshold, self.score)
        return prediction_fields(self.horizon_s, numbers)

    @classmethod
    def row(cls, forecast: Forecast, index: int) -> Prediction:
        """Return the forecast of row `index`."""
        return cls(
            horizon_s=forecast.horizon_s,
            sigma=math.sqrt(forecast.sigma2[index]),
            lo=float(forecast.lo[index]),
            hi=float(forecast.hi[index]),
            threshold=float(forecast.threshold[index]),
            score=float(forecast.p_spike[index]),
        )


def prediction_fields(horizon_s: float, numbers: Sequence[float]) -> PredictionFields:
    """Return the numbers of a forecast at a horizon (see PointForecast) as JSON fields."""
    sigma, lo, hi, threshold, score = numbers
    annualised = sigma * _root_of_year(horizon_s)
    return PredictionFields(horizon_s, sigma, annualised, lo, hi, COVERAGE, threshold, score)


@lru_cache(256)
def _root_of_year(horizon_s: float) -> float:
    return math.sqrt(SECONDS_PER_YEAR / horizon_s)


class IssuedForecast(NamedTuple):
    """A forecast issued at the end of a minute, kept until its horizon has passed.

    `minute` is the minute since the epoch that had just ended. The other fields are as in
    Prediction.
    """

    symbol: str
    variant: str
    version: str
    minute: int
    horizon_minutes: int
    sigma: float
    lo: float
    hi: float
    threshold: float
    score: float


class Outcome(NamedTuple):
    """An issued forecast that has matured, with the realised volatility and the losses."""

    issued: IssuedForecast
    realised: float
    qlike: float
    covered: bool
    brier: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Features and forecasts of a symbol after one tick, and the model that made them.

    `predictions` holds one forecast per horizon; `score` is that of the configured horizon.
    `features` are the model's other inputs by name, None where they are not known yet.
    `prediction_id` identifies the forecast issued at the end of the last minute, which is the one
    that will be scored.
    """

    row: FeatureRow
    score: float
    variant: str
    version: str
    predictions: tuple[Prediction, ...]
    quality: Quality
    features: Mapping[str, float | None]
    prediction_id: str | None = None


class PointForecast(NamedTuple):
    """The forecasts of a symbol after one tick as plain numbers; a snapshot when somebody reads it.

    `inputs` are those of the model, in the order of WINDOW_NAMES and SCALE_NAMES. `numbers` has the
    numbers of each of `horizons_s`: sigma, lo, hi, threshold and score, as in Prediction.
    """

    row: FeatureRow
    inputs: Sequence[float]
    horizons_s: tuple[float, ...]
    numbers: Sequence[Sequence[float]]
    score_horizon_s: float
    variant: str
    version: str
    quality: Quality
    prediction_id: str | None

    @property
    def score(self) -> float:
        """The probability of a spike at the horizon that heads an answer."""
        return self.numbers[self.horizons_s.index(self.score_horizon_s)][-1]

    @property
    def scales(self) -> Sequence[float | None]:
        """The multi-scale features; None while the symbol is cold."""
        # What its first seconds give is evidence beside a prior, and says nothing by itself.
        if self.quality.verdict == "cold":
            return (None,) * len(SCALE_NAMES)
        return self.inputs[len(WINDOW_NAMES) :]

    @property
    def features(self) -> Mapping[str, float | None]:
        """The multi-scale features by name."""
        return dict(zip(SCALE_NAMES, self.scales, strict=True))

    @property
    def predictions(self) -> tuple[Prediction, ...]:
        """The forecasts, one a horizon."""
        pairs = zip(self.horizons_s, self.numbers, strict=True)
        return tuple(Prediction(horizon, *numbers) for horizon, numbers in pairs)

    def snapshot(self) -> Snapshot:
        """Return the forecasts as they are answered."""
        return Snapshot(
            row=self.row,
            score=self.score,
            variant=self.variant,
            version=self.version,
            predictions=self.predictions,
            quality=self.quality,
            features=self.features,
            prediction_id=self.prediction_id,
        )
