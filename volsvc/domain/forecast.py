"""What the service says: feature rows, forecasts, and a symbol's newest snapshot."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from volsvc.domain.times import format_time

if TYPE_CHECKING:
    # A client of the service imports this package, and needs no arrays.
    import numpy as np
    from numpy.typing import NDArray

# A Julian year: crypto markets never close.
SECONDS_PER_YEAR = 31_557_600

# Nominal probability of the central forecast interval.
COVERAGE = 0.9

Verdict = Literal["ok", "warming", "degraded"]
# Whose past residuals intervals and scores rest on: all symbols', or mostly the symbol's own.
CalibrationSource = Literal["pooled", "own"]


class FeatureRow(NamedTuple):
    """The public features after one accepted tick.

    `ret_mean` and `ret_std` (ddof 1) are those of the `n` log returns inside the window, 0.0 where
    they are not defined yet (n < 1, n < 2); `span_s` is the event time that the window covers.
    """

    symbol: str
    time_ns: int
    price: float
    ret_mean: float
    ret_std: float
    n: int
    span_s: float

    def fields(self) -> dict[str, Any]:
        """The row as JSON fields."""
        return {
            "symbol": self.symbol,
            "time": format_time(self.time_ns),
            "price": self.price,
            "ret_mean": self.ret_mean,
            "ret_std": self.ret_std,
            "n": self.n,
            "span_s": self.span_s,
        }


@dataclass(frozen=True, slots=True)
class Quality:
    """What is known about the feed behind an answer: counts since the symbol was first seen.

    `ticks` were taken in; `future` ones, whose clock was far ahead, went to the dead letters.
    """

    gaps: int
    duplicates: int
    late: int
    fill_ratio: float
    verdict: Verdict
    calibration: CalibrationSource = "pooled"
    future: int = 0
    ticks: int = 0


@dataclass(frozen=True, slots=True)
class Forecast:
    """Forecasts for rows at one horizon, as arrays of shape (rows,).

    `sigma2` is the expected realised variance over the horizon; `lo` and `hi` bound the central
    `COVERAGE` interval of realised volatility; `p_spike` is the probability that realised
    volatility exceeds `threshold`.
    """

    horizon_s: float
    sigma2: NDArray[np.float64]
    p_spike: NDArray[np.float64]
    lo: NDArray[np.float64]
    hi: NDArray[np.float64]
    threshold: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Prediction:
    """One row's forecast at one horizon; volatilities are per sqrt(horizon), not annualised."""

    horizon_s: float
    sigma: float
    lo: float
    hi: float
    threshold: float
    score: float

    @property
    def sigma_annualised(self) -> float:
        """Volatility a year, at the same rate."""
        return self.sigma * math.sqrt(SECONDS_PER_YEAR / self.horizon_s)

    def fields(self) -> dict[str, Any]:
        """The forecast as JSON fields."""
        return {
            "horizon_s": self.horizon_s,
            "sigma": self.sigma,
            "sigma_annualised": self.sigma_annualised,
            "lo": self.lo,
            "hi": self.hi,
            "coverage": COVERAGE,
            "threshold": self.threshold,
            "score": self.score,
        }

    @classmethod
    def row(cls, forecast: Forecast, index: int) -> Prediction:
        """The forecast of row `index`."""
        return cls(
            horizon_s=forecast.horizon_s,
            sigma=math.sqrt(forecast.sigma2[index]),
            lo=float(forecast.lo[index]),
            hi=float(forecast.hi[index]),
            threshold=float(forecast.threshold[index]),
            score=float(forecast.p_spike[index]),
        )


class IssuedForecast(NamedTuple):
    """What a model said of a symbol at the end of a minute, kept until it can be judged.

    `minute` is the minute since the epoch that had just ended, `ahead` the horizon in minutes; the
    rest is as in Prediction.
    """

    variant: str
    version: str
    minute: int
    ahead: int
    sigma: float
    lo: float
    hi: float
    threshold: float
    score: float


class Outcome(NamedTuple):
    """A frozen forecast and how it turned out; `realised` is the volatility that came."""

    issued: IssuedForecast
    realised: float
    qlike: float
    covered: bool
    brier: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that is said of a symbol after one tick: features, forecasts, and who made them.

    `predictions` holds one forecast a horizon; `score` belongs to the configured horizon;
    `features` are the model's other inputs by name, None where not known yet. `prediction_id` names
    the forecast that the model issued at the end of the last minute, which is the one to be judged.
    """

    row: FeatureRow
    score: float
    variant: str
    version: str
    predictions: tuple[Prediction, ...]
    quality: Quality
    features: Mapping[str, float | None]
    prediction_id: str | None = None
