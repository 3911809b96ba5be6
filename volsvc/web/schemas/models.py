"""Schemas of the /models routes and of GET /quality."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PositiveInt

from volsvc.web.schemas.base import Answer, Request, Time, integral_to_int


class ActivateRequest(Request):
    """The model to activate: a variant, and for `ml` a version of the registry or `latest`."""

    variant: Literal["baseline", "ml"]
    version: Annotated[
        Annotated[str, Field(pattern=r"^(latest|[1-9][0-9]{0,8})$")] | PositiveInt | None,
        BeforeValidator(integral_to_int),
    ] = None


class ServingModel(Answer):
    """The active model, the requested one, and the reason if they differ."""

    model: str
    variant: str
    version: str
    digest: str
    requested: str
    fallback: bool
    reason: str | None


class HeldModel(Answer):
    """A model that is loaded: active, in shadow, or held ready."""

    variant: str
    version: str
    digest: str
    state: Literal["serving", "shadow", "held"]


class ModelsResponse(Answer):
    """The models of this instance; `guard` is the reason if the guard stopped the fitted one."""

    ts: Time
    serving: ServingModel
    previous: str | None
    variants: list[HeldModel]
    guard: str | None


# The audit log was once called the journal. The class keeps the name, because it is the name of the
# component in the OpenAPI document, from which clients are generated.
class JournalEntry(Answer):
    """An entry of the audit log: one change of the active model.

    `hash` covers all other fields; `prev` is the hash of the entry before.
    """

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
    """The newest changes, newest first; with `at`, also the entry of the model active then."""

    ts: Time
    entries: list[JournalEntry]
    at: Time | None = None
    served: JournalEntry | None = None


class QualityRow(Answer):
    """Scores of matured forecasts; `skill` is 1 - QLIKE / QLIKE of the EWMA baseline."""

    symbol: str | None = None
    variant: str
    horizon_s: float
    n: int
    qlike: float
    coverage: float
    brier: float
    skill: float | None


class GuardState(Answer):
    """The state of the guard; `ratio` is the QLIKE of ml over that of the baseline."""

    stopped: bool
    overruled: bool
    fallback_ratio: float
    ratio: float | None
    forecasts: int
    least_forecasts: int
    horizon_s: float


class Recommendation(Answer):
    """The recommendation of the sequential test of the challenger; an operator decides."""

    champion: str
    challenger: str
    action: Literal["promote", "keep"]
    e_value: float
    level: float
    pairs: int
    horizon_s: float


class QualityResponse(Answer):
    """Live scores of the service's own forecasts over the window."""

    ts: Time
    window_days: int
    guard: GuardState
    recommendation: Recommendation
    scores: list[QualityRow]
    symbols: list[QualityRow]
    symbols_left_out: int
