"""The calls of the service as values: the request, and the schema of the answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote

from pydantic import ValidationError

from volsvc.client.errors import UnexpectedAnswerError
from volsvc.web.schemas.base import Answer
from volsvc.web.schemas.drift import DriftResponse
from volsvc.web.schemas.live import (
    AllLatestResponse,
    HealthResponse,
    HistoryResponse,
    LatestResponse,
    VersionResponse,
)
from volsvc.web.schemas.models import ModelHistoryResponse, ModelsResponse, QualityResponse
from volsvc.web.schemas.past import (
    EventsResponse,
    MinutesResponse,
    OutcomesResponse,
    TrackRecordResponse,
)
from volsvc.web.schemas.predict import PredictResponse, Row

A_co = TypeVar("A_co", bound=Answer, covariant=True)


@dataclass(frozen=True, slots=True)
class ApiCall(Generic[A_co]):
    """A request and the schema of its answer.

    `also_status` is a status beside 200 that has such an answer.
    """

    method: Literal["GET", "POST", "PUT"]
    path: str
    answer: type[A_co]
    query: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    also_status: int = 200
    # A call that is not idempotent has its effect twice if it is sent twice.
    idempotent: bool = True

    def parse(self, body: bytes) -> A_co:
        """Parse an answer; raises UnexpectedAnswerError if it does not match the schema."""
        # Fields that a newer service has added are ignored.
        try:
            return self.answer.model_validate_json(body, extra="ignore")
        except ValidationError as error:
            raise UnexpectedAnswerError(f"{self.path}: unexpected answer: {error}") from error


class Exposition(Answer):
    """Metrics in the text format of Prometheus."""

    text: str


class _MetricsCall(ApiCall[Exposition]):
    def parse(self, body: bytes) -> Exposition:
        try:
            return Exposition(text=body.decode())
        except UnicodeDecodeError as error:
            raise UnexpectedAnswerError(f"{self.path}: unexpected answer: {error}") from error


def predict(
    rows: Sequence[Row | Mapping[str, Any]],
    *,
    horizon_s: float | None = None,
    threshold: float | None = None,
    lenient: bool = False,
) -> ApiCall[PredictResponse]:
    """Forecast from windows of returns; `scores[i]` and `predictions[i]` belong to `rows[i]`.

    `horizon_s` is in seconds, `threshold` in volatility per sqrt(horizon_s). With `lenient`, the
    forecasts of invalid rows are None and `errors` has the reasons; otherwise an invalid row raises
    InvalidRequestError.
    """
    # Fields that were not set are left to the defaults of the service.
    sent = [row.model_dump(exclude_unset=True) if isinstance(row, Row) else row for row in rows]
    options = {"horizon_s": horizon_s, "threshold": threshold}
    given = {name: value for name, value in options.items() if value is not None}
    headers = {"Prefer": "handling=lenient"} if lenient else {}
    body = _json({"rows": sent, **given})
    return ApiCall("POST", "/predict", PredictResponse, headers=headers, body=body)


def latest(symbol: str, *, max_age_s: float | None = None) -> ApiCall[LatestResponse]:
    """Return the newest forecast of a symbol; raises StaleDataError if older than `max_age_s`."""
    return ApiCall("GET", f"/latest/{_segment(symbol)}", LatestResponse, _query(max_age=max_age_s))


def latest_all(*, max_age_s: float | None = None) -> ApiCall[AllLatestResponse]:
    """Return the newest forecast of every symbol."""
    return ApiCall("GET", "/latest", AllLatestResponse, _query(max_age=max_age_s))


def history(symbol: str, *, limit: int | None = None) -> ApiCall[HistoryResponse]:
    """Return the newest rows of a symbol that the service keeps, oldest first."""
    return ApiCall("GET", f"/history/{_segment(symbol)}", HistoryResponse, _query(limit=limit))


def minutes(
    symbol: str,
    *,
    start: str | float | None = None,
    end: str | float | None = None,
    step: str | int = "1m",
    fields: Sequence[str] | None = None,
    limit: int | None = None,
) -> ApiCall[MinutesResponse]:
    """Return minutes of a symbol from the store, or longer steps, oldest first.

    Times are RFC 3339 or epoch numbers; by default the newest day. `next` of the answer is the
    `start` of the next page.
    """
    names = ",".join(fields) if fields is not None else None
    query = _query(start=start, end=end, step=step, fields=names, limit=limit)
    return ApiCall("GET", f"/history/{_segment(symbol)}", MinutesResponse, query)


def outcomes(
    symbol: str,
    *,
    start: str | float | None = None,
    end: str | float | None = None,
    horizon: str | int | None = None,
    limit: int | None = None,
) -> ApiCall[OutcomesResponse]:
    """Return matured forecasts of a symbol from the store, in the order of their issue.

    `horizon` is in seconds, or a text such as 1h; by default all. Times and pages are as in
    `minutes`.
    """
    query = _query(start=start, end=end, horizon=horizon, limit=limit)
    return ApiCall("GET", f"/outcomes/{_segment(symbol)}", OutcomesResponse, query)


def track_record(
    *, symbol: str | None = None, horizon: str | int | None = None, days: int | None = None
) -> ApiCall[TrackRecordResponse]:
    """Return losses of the models by UTC day, coverage and reliability, of one symbol or of all."""
    query = _query(symbol=symbol, horizon=horizon, days=days)
    return ApiCall("GET", "/track-record", TrackRecordResponse, query)


def events(
    *,
    symbol: str | None = None,
    kind: str | None = None,
    start: str | float | None = None,
    end: str | float | None = None,
    limit: int | None = None,
) -> ApiCall[EventsResponse]:
    """Return gaps, changes of the model and checks of drift from the store, oldest first.

    `kind` is gap, model or drift. Without `start` these are the newest; times and pages are else as
    in `minutes`.
    """
    query = _query(symbol=symbol, kind=kind, start=start, end=end, limit=limit)
    return ApiCall("GET", "/events", EventsResponse, query)


def health() -> ApiCall[HealthResponse]:
    """Return the health of the service and its parts; a status `fail` raises no error."""
    return ApiCall("GET", "/health", HealthResponse, also_status=503)


def version() -> ApiCall[VersionResponse]:
    """Return the active model and the build of the service."""
    return ApiCall("GET", "/version", VersionResponse)


def models() -> ApiCall[ModelsResponse]:
    """Return the active model and the other loaded models."""
    return ApiCall("GET", "/models", ModelsResponse)


def model_history(
    *, at: str | None = None, limit: int | None = None
) -> ApiCall[ModelHistoryResponse]:
    """Return the changes of the active model, newest first.

    With `at` (RFC 3339) the answer also has the model that was active at that time.
    """
    return ApiCall("GET", "/models/history", ModelHistoryResponse, _query(at=at, limit=limit))


def activate(variant: str, *, version: str | int | None = None) -> ApiCall[ModelsResponse]:
    """Activate a variant, for `ml` optionally a version of the registry; needs scope `admin`."""
    body = {"variant": variant} if version is None else {"variant": variant, "version": version}
    return ApiCall("PUT", "/models/active", ModelsResponse, body=_json(body))


def rollback() -> ApiCall[ModelsResponse]:
    """Activate the previous model; needs scope `admin`."""
    # Sent twice, the second would undo the first.
    return ApiCall("POST", "/models/rollback", ModelsResponse, idempotent=False)


def quality(*, symbol: str | None = None) -> ApiCall[QualityResponse]:
    """Return the scores of the service's own forecasts, of all symbols or of one."""
    return ApiCall("GET", "/quality", QualityResponse, _query(symbol=symbol))


def drift() -> ApiCall[DriftResponse]:
    """Return the result of the newest drift check."""
    return ApiCall("GET", "/drift", DriftResponse)


def metrics(*names: str) -> ApiCall[Exposition]:
    """Return the metrics of the service, all or those with these names."""
    return _MetricsCall("GET", "/metrics", Exposition, {"name[]": names})


def stream(symbols: Sequence[str] | None, last_id: str | None) -> ApiCall[Answer]:
    """Stream events of these symbols (None: all) after the event `last_id`, for `EventParser`."""
    names = ",".join(symbols) if symbols is not None else None
    headers = {} if last_id is None else {"Last-Event-ID": last_id}
    return ApiCall("GET", "/stream", Answer, _query(symbols=names), headers)


def _segment(symbol: str) -> str:
    # With "/" quoted too, a symbol cannot lead to another route.
    return quote(symbol, safe="")


def _query(**given: str | float | None) -> dict[str, str]:
    return {name: str(value) for name, value in given.items() if value is not None}


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
