"""Requests and answers: what validates is what the OpenAPI document shows."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from volsvc.web.schemas.base import Answer, Time
from volsvc.web.schemas.predict import Volatility


class HorizonPrediction(Volatility):
    """A live symbol's forecast at one horizon."""

    horizon_s: float
    score: float


class FeedQuality(Answer):
    """Counts since the symbol was first seen, and what they mean."""

    gaps: int
    duplicates: int
    late: int
    fill_ratio: float
    verdict: Literal["ok", "warming", "degraded"]
    calibration: Literal["pooled", "own"]
    future: int
    ticks: int


class LatestResponse(Answer):
    """The newest features and forecasts of a symbol."""

    symbol: str
    ts: Time
    as_of: Time
    age_s: float
    stale: bool
    price: float
    ret_mean: float
    ret_std: float
    n: int
    span_s: float
    score: float
    prediction_id: str | None = Field(
        description="the forecast issued at the end of the last minute, judged in ticks.outcomes"
    )
    model_variant: str
    version: str
    predictions: list[HorizonPrediction]
    quality: FeedQuality
    features: dict[str, float | None] = Field(description="the multi-scale features, by name")


class AllLatestResponse(Answer):
    """The newest of every symbol, by name."""

    ts: Time
    symbols: list[LatestResponse]


class HistoryRow(Answer):
    """The public features after one tick."""

    symbol: str
    time: Time
    price: float
    ret_mean: float
    ret_std: float
    n: int
    span_s: float


class PastPrediction(Answer):
    """What was said at one horizon, to six digits."""

    horizon_s: float
    sigma: float
    lo: float
    hi: float
    score: float


class PastForecast(Answer):
    """What was said of a symbol, once in ten seconds of event time; `gaps` of its feed so far."""

    time: Time
    price: float
    gaps: int
    model_variant: str
    version: str
    predictions: list[PastPrediction]


class PastOutcome(Answer):
    """A forecast whose horizon is over, and the volatility that came, per sqrt(horizon_s)."""

    issued: Time
    matured: Time
    horizon_s: float
    model_variant: str
    version: str
    sigma: float
    lo: float
    hi: float
    realised: float
    covered: bool


class HistoryResponse(Answer):
    """The newest of a symbol, oldest first: feature rows, forecasts, and how those turned out."""

    symbol: str
    rows: list[HistoryRow]
    forecasts: list[PastForecast]
    outcomes: list[PastOutcome]


class CheckResult(Answer):
    """The state of one part."""

    status: Literal["ok", "degraded", "fail"]
    detail: str


class HealthResponse(Answer):
    """The state of the daemon: the worst of its parts."""

    status: Literal["ok", "degraded", "fail"]
    checks: dict[str, CheckResult]


class VersionResponse(Answer):
    """What serves, and which build serves it."""

    model: str
    sha: str
    version: str
    model_digest: str
    requested: str
    fallback: str | None = Field(description="why another model serves than was asked for")
    schema_version: int
