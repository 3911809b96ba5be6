"""Schemas of the models' routes and of `GET /quality`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PositiveInt

from volsvc.web.schemas.base import Answer, Request, Time, to_whole


class ActivateRequest(Request):
    """What is to serve: a variant, and of `ml` a version of the registry or `latest`."""

    variant: Literal["baseline", "ml"]
    version: Annotated[
        Annotated[str, Field(pattern=r"^(latest|[1-9][0-9]{0,8})$")] | PositiveInt | None,
        BeforeValidator(to_whole),
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
