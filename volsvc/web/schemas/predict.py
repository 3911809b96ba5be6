"""Schemas of `POST /predict`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from volsvc.domain.feature_names import SCALE_NAMES
from volsvc.web.schemas.base import Answer, ErrorItem, Finite, Rate, Request, Time, to_whole

FeatureName = Annotated[str, Field(max_length=64)]


LONGEST_HORIZON_S = 86_400.0


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


class Row(Request):
    """One window of returns: the public feature contract, and what makes it more exact."""

    ret_mean: Finite = Field(description="mean log return inside the window")
    ret_std: Rate = Field(description="sample standard deviation of the log returns")
    n: Annotated[int, BeforeValidator(to_whole)] = Field(
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
