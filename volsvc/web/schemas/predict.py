"""Schemas of `POST /predict`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from volsvc.domain.feature_names import SCALE_NAMES
from volsvc.web.schemas.base import Answer, ErrorItem, Finite, Rate, Request, Time, integral_to_int

LONGEST_HORIZON_S = 86_400.0

FeatureName = Annotated[str, Field(max_length=64)]
_NUMBER = {"anyOf": [{"type": "number"}, {"type": "null"}]}
_LEVEL = {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "null"}]}
# The parser of the body checks the names; the document lists them.
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
    """One window of returns: its public features, and optional ones for a better forecast."""

    ret_mean: Finite = Field(description="mean log return inside the window")
    ret_std: Rate = Field(description="sample standard deviation of the log returns")
    n: Annotated[int, BeforeValidator(integral_to_int)] = Field(
        ge=1, le=1_000_000_000, description="returns inside the window"
    )
    symbol: str | None = Field(
        None, max_length=64, description="spikes are relative to this symbol's usual volatility"
    )
    ts: Time | None = Field(None, max_length=40)
    span_s: float | None = Field(
        None, gt=0, le=31_557_600, allow_inf_nan=False, description="seconds the window covers"
    )
    features: FeatureMap | None = Field(
        None,
        description="the complete map as published in `ticks.features` with this schema version",
    )


class PredictOptions(Request):
    """Options that apply to all rows of a request."""

    horizon_s: float | None = Field(None, ge=1, le=LONGEST_HORIZON_S, allow_inf_nan=False)
    threshold: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="realised volatility per sqrt(horizon)"
    )


class PredictRequest(PredictOptions):
    """Rows to forecast; horizon and threshold apply to all of them."""

    rows: list[Row] = Field(min_length=1)


class PredictEnvelope(PredictOptions):
    """A request whose rows are not validated yet."""

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

    A lenient request gets null for the rows that `errors` points to.
    """

    scores: list[Annotated[float, Field(ge=0, le=1)] | None]
    model_variant: str
    version: str
    ts: Time
    horizon_s: float
    predictions: list[RowPrediction | None]
    errors: list[ErrorItem] = Field([], description="only with `Prefer: handling=lenient`")
