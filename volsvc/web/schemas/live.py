"""Schemas of live symbols, of health and of the version."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from volsvc.web.schemas.base import Answer, Time
from volsvc.web.schemas.predict import Volatility


class HorizonPrediction(Volatility):
    """The forecast of a live symbol at one horizon."""

    horizon_s: float
    score: float


class Warmed(Answer):
    """The bars that a symbol has seen beside its ticks."""

    source: Literal["venue", "file", "generator"]
    from_: Time = Field(alias="from")
    minutes: int


class FeedQuality(Answer):
    """Counts of a symbol's feed since the symbol was first seen, and the verdict on them."""

    gaps: int
    duplicates: int
    late: int
    fill_ratio: float
    verdict: Literal["ok", "warming", "cold", "degraded"]
    calibration: Literal["pooled", "own"]
    future: int
    ticks: int
    bad_prints: int
    warmed: Warmed | None = Field(description="null for a symbol that saw ticks alone")


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
        description="the forecast issued at the end of the last minute, scored in ticks.outcomes"
    )
    model_variant: str
    version: str
    predictions: list[HorizonPrediction]
    quality: FeedQuality
    features: dict[str, float | None] = Field(description="the multi-scale features, by name")


class AllLatestResponse(Answer):
    """The newest features and forecasts of every symbol, sorted by name."""

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
    """A past forecast at one horizon, to six digits."""

    horizon_s: float
    sigma: float
    lo: float
    hi: float
    score: float


class PastForecast(Answer):
    """The forecasts of a symbol at one time, one in ten seconds of event time.

    `gaps` is the number of gaps in the feed up to then.
    """

    time: Time
    price: float
    gaps: int
    model_variant: str
    version: str
    predictions: list[PastPrediction]


class PastOutcome(Answer):
    """A matured forecast with the realised volatility, per sqrt(horizon_s)."""

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
    """The newest feature rows, forecasts and outcomes of a symbol, each oldest first."""

    symbol: str
    rows: list[HistoryRow]
    forecasts: list[PastForecast]
    outcomes: list[PastOutcome]


class CheckResult(Answer):
    """The state of one part of the service."""

    status: Literal["ok", "degraded", "fail"]
    detail: str


class HealthResponse(Answer):
    """The state of the service: the worst state of its parts."""

    status: Literal["ok", "degraded", "fail"]
    checks: dict[str, CheckResult]


class VersionResponse(Answer):
    """The active model and the build."""

    model: str
    sha: str
    version: str
    model_digest: str
    requested: str
    fallback: str | None = Field(
        description="the reason if another model than the requested one is active"
    )
    schema_version: int
