"""Requests and answers: what validates is what the OpenAPI document shows."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveInt, WithJsonSchema

from volsvc.domain.scales import SCALE_NAMES

FeatureName = Annotated[str, Field(max_length=64)]
LONGEST_HORIZON_S = 86_400.0

Finite = Annotated[float, Field(allow_inf_nan=False)]
Rate = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Time = Annotated[str, Field(description="RFC 3339, UTC", examples=["2026-04-06T15:02:34.590Z"])]


_NUMBER = {"anyOf": [{"type": "number"}, {"type": "null"}]}
_LEVEL = {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "null"}]}
FeatureMap = Annotated[
    dict[FeatureName, Finite | None],
    WithJsonSchema(
        {
            "type": "object",
            "properties": {n: _LEVEL if n == "level" else _NUMBER for n in SCALE_NAMES},
            "required": list(SCALE_NAMES),
            "additionalProperties": False,
        }
    ),
]


def _whole(value: Any) -> Any:
    """JSON knows one kind of number: 50.0 is the whole number 50."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


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
    n: Annotated[int, BeforeValidator(_whole)] = Field(
        ge=1, le=1_000_000_000, description="returns inside the window"
    )
    symbol: str | None = Field(None, max_length=64, description="spikes relative to this symbol")
    ts: Time | None = Field(None, max_length=40)
    span_s: float | None = Field(
        None, gt=0, le=31_557_600, allow_inf_nan=False, description="seconds the window covers"
    )
    features: FeatureMap | None = Field(
        None, description="as published in `ticks.features` with this schema version, whole"
    )


class PredictOptions(Request):
    """What holds for all rows of a request."""

    horizon_s: float | None = Field(None, ge=1, le=LONGEST_HORIZON_S, allow_inf_nan=False)
    threshold: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="realised volatility per sqrt(horizon)"
    )


class PredictRequest(PredictOptions):
    """Rows to predict; horizon and threshold hold for all of them."""

    rows: list[Row] = Field(min_length=1)


class PredictEnvelope(PredictOptions):
    """A request whose rows have not been looked at yet."""

    rows: list[Any] = Field(min_length=1)


class ErrorItem(Answer):
    """One fault of a request, with the place it stands at (RFC 6901)."""

    pointer: str
    detail: str


class Volatility(Answer):
    """A forecast; volatilities are per sqrt(horizon_s), `coverage` is that of [lo, hi]."""

    sigma: float
    sigma_annualised: float
    lo: float
    hi: float
    coverage: float
    threshold: float


class RowPrediction(Volatility):
    """The forecast of one posted row; volatilities are per sqrt(horizon_s)."""

    quality: Literal["ok", "degraded"]


class PredictResponse(Answer):
    """Scores in the order of the rows: P(realised volatility > threshold).

    A lenient request gets null for the rows that `errors` points at.
    """

    scores: list[Annotated[float, Field(ge=0, le=1)] | None]
    model_variant: str
    version: str
    ts: Time
    horizon_s: float
    predictions: list[RowPrediction | None]
    errors: list[ErrorItem] = Field([], description="only with `Prefer: handling=lenient`")


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


class ActivateRequest(Request):
    """What is to serve: a variant, and of `ml` a version of the registry or `latest`."""

    variant: Literal["baseline", "ml"]
    version: Annotated[
        Annotated[str, Field(pattern=r"^(latest|[1-9][0-9]{0,8})$")] | PositiveInt | None,
        BeforeValidator(_whole),
    ] = None


class ServingModel(Answer):
    """What serves, what was asked for, and why they differ if they do."""

    model: str
    variant: str
    version: str
    digest: str
    requested: str
    fallback: bool
    reason: str | None


class HeldModel(Answer):
    """A model that is ready to serve."""

    variant: str
    version: str
    digest: str
    state: Literal["serving", "shadow", "held"]


class ModelsResponse(Answer):
    """The models of this instance; `guard` says why the fitted one was stopped."""

    ts: Time
    serving: ServingModel
    previous: str | None
    variants: list[HeldModel]
    guard: str | None


class JournalEntry(Answer):
    """One change of what serves; `hash` covers the rest, `prev` is the hash before."""

    seq: int
    time: Time
    kind: str
    trigger: str
    reason: str
    model: str
    variant: str
    version: str
    digest: str
    requested: str
    fallback: bool
    previous: str
    prev: str
    hash: str


class ModelHistoryResponse(Answer):
    """The newest changes, newest first; with `at` also the entry of what served then."""

    ts: Time
    entries: list[JournalEntry]
    at: Time | None = None
    served: JournalEntry | None = None


class QualityRow(Answer):
    """How forecasts turned out; `skill` is 1 - QLIKE / QLIKE of the EWMA baseline."""

    symbol: str | None = None
    variant: str
    horizon_s: float
    n: int
    qlike: float
    coverage: float
    brier: float
    skill: float | None


class GuardState(Answer):
    """What the guard looks at; `ratio` is QLIKE of ml over that of the baseline."""

    stopped: bool
    overruled: bool
    fallback_ratio: float
    ratio: float | None
    forecasts: int
    least_forecasts: int
    horizon_s: float


class Recommendation(Answer):
    """Whether the challenger has shown that it is better; the decision is the operator's."""

    champion: str
    challenger: str
    action: Literal["promote", "keep"]
    e_value: float
    level: float
    pairs: int
    horizon_s: float


class QualityResponse(Answer):
    """Live scores of our own forecasts over the window."""

    ts: Time
    window_days: int
    guard: GuardState
    recommendation: Recommendation
    scores: list[QualityRow]
    symbols: list[QualityRow]
    symbols_left_out: int


class Problem(Answer):
    """An error, as RFC 9457 has it."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    errors: list[ErrorItem] = []


class ProblemKind(Answer):
    """A kind of problem: what `type` of a problem leads to."""

    type: str
    title: str
    status: int
    remedy: str
