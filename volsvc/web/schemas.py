"""Requests and answers: what validates is what the OpenAPI document shows."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

FeatureName = Annotated[str, Field(max_length=64)]
LONGEST_HORIZON_S = 86_400.0

Finite = Annotated[float, Field(allow_inf_nan=False)]
Rate = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Time = Annotated[str, Field(description="RFC 3339, UTC", examples=["2026-04-06T15:02:34.590Z"])]


class Request(BaseModel):
    """A request body: unknown fields and wrong types are errors."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, frozen=True)


class Answer(BaseModel):
    """A response body."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", protected_namespaces=())


class Row(Request):
    """One window of returns: the public feature contract, and what makes it more exact."""

    ret_mean: Finite = Field(description="mean log return inside the window")
    ret_std: Rate = Field(description="sample standard deviation of the log returns")
    n: int = Field(ge=1, le=1_000_000_000, description="returns inside the window")
    symbol: str | None = Field(None, max_length=64, description="spikes relative to this symbol")
    ts: Time | None = Field(None, max_length=40)
    span_s: float | None = Field(
        None, gt=0, le=31_557_600, allow_inf_nan=False, description="seconds the window covers"
    )
    features: dict[FeatureName, Annotated[float, Field(allow_inf_nan=False)] | None] | None = Field(
        None, description="as published in `ticks.features` with this schema version"
    )


class PredictRequest(Request):
    """Rows to predict; horizon and threshold hold for all of them."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={"examples": [{"rows": [{"ret_mean": 0.05, "ret_std": 0.01, "n": 50}]}]}
    )

    rows: list[Row] = Field(min_length=1)
    horizon_s: float | None = Field(None, ge=1, le=LONGEST_HORIZON_S, allow_inf_nan=False)
    threshold: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="realised volatility per sqrt(horizon)"
    )


class RowPrediction(Answer):
    """The forecast of one posted row; volatilities are per sqrt(horizon_s)."""

    sigma: float
    sigma_annualised: float
    lo: float
    hi: float
    coverage: float
    threshold: float
    quality: Literal["ok", "degraded"]


class PredictResponse(Answer):
    """Scores in the order of the rows: P(realised volatility > threshold)."""

    scores: list[float]
    model_variant: str
    version: str
    ts: Time
    horizon_s: float
    predictions: list[RowPrediction]


class HorizonPrediction(Answer):
    """A live symbol's forecast at one horizon."""

    horizon_s: float
    sigma: float
    sigma_annualised: float
    lo: float
    hi: float
    coverage: float
    threshold: float
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


class HistoryResponse(Answer):
    """The newest feature rows of a symbol, oldest first."""

    symbol: str
    rows: list[HistoryRow]


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
    schema_version: int


class ErrorItem(Answer):
    """One fault of a request, with the place it stands at (RFC 6901)."""

    pointer: str
    detail: str


class Problem(Answer):
    """An error, as RFC 9457 has it."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    errors: list[ErrorItem] = []
