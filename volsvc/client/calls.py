"""The calls that the service takes, as values: what is sent, and how the answer is read."""

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
from volsvc.web.schemas.predict import PredictResponse, Row

A_co = TypeVar("A_co", bound=Answer, covariant=True)


@dataclass(frozen=True, slots=True)
class Call(Generic[A_co]):
    """A request, and the schema of its answer.

    `also` is a status beside 200 that has such an answer. What is not `repeatable` is done twice if
    it is sent twice.
    """

    method: Literal["GET", "POST", "PUT"]
    path: str
    answer: type[A_co]
    query: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    also: int = 200
    repeatable: bool = True

    def read(self, body: bytes) -> A_co:
        """The answer; what a newer service says beside it is left out."""
        try:
            return self.answer.model_validate_json(body, extra="ignore")
        except ValidationError as error:
            raise UnexpectedAnswerError(f"{self.path} answers something else: {error}") from error


class Exposition(Answer):
    """Metrics in Prometheus' text format."""

    text: str


class _MetricsCall(Call[Exposition]):
    def read(self, body: bytes) -> Exposition:
        return Exposition(text=body.decode())


def predict(
    rows: Sequence[Row | Mapping[str, Any]],
    *,
    horizon_s: float | None = None,
    threshold: float | None = None,
    lenient: bool = False,
) -> Call[PredictResponse]:
    """Forecasts from windows of returns; `scores[i]` and `predictions[i]` belong to `rows[i]`.

    `horizon_s` in seconds, `threshold` in volatility per sqrt(horizon_s). With `lenient`, faulty
    rows get None and `errors` says why; else any of them raises InvalidRequestError.
    """
    sent = [row.model_dump(exclude_unset=True) if isinstance(row, Row) else row for row in rows]
    options = {"horizon_s": horizon_s, "threshold": threshold}
    given = {name: value for name, value in options.items() if value is not None}
    headers = {"Prefer": "handling=lenient"} if lenient else {}
    body = _json({"rows": sent, **given})
    return Call("POST", "/predict", PredictResponse, headers=headers, body=body)


def latest(symbol: str, *, max_age_s: float | None = None) -> Call[LatestResponse]:
    """The newest of a symbol; raises StaleDataError when it is older than `max_age_s` seconds."""
    return Call("GET", f"/latest/{_segment(symbol)}", LatestResponse, _query(max_age=max_age_s))


def latest_all(*, max_age_s: float | None = None) -> Call[AllLatestResponse]:
    """The newest of every symbol."""
    return Call("GET", "/latest", AllLatestResponse, _query(max_age=max_age_s))


def history(symbol: str, *, limit: int | None = None) -> Call[HistoryResponse]:
    """The newest of a symbol that the service remembers, oldest first."""
    return Call("GET", f"/history/{_segment(symbol)}", HistoryResponse, _query(limit=limit))


def health() -> Call[HealthResponse]:
    """What works and what does not; no error when it is `fail`."""
    return Call("GET", "/health", HealthResponse, also=503)


def version() -> Call[VersionResponse]:
    """What serves, and which build."""
    return Call("GET", "/version", VersionResponse)


def models() -> Call[ModelsResponse]:
    """What serves, and what stands by."""
    return Call("GET", "/models", ModelsResponse)


def model_history(*, at: str | None = None, limit: int | None = None) -> Call[ModelHistoryResponse]:
    """What served when, newest first; with `at` (RFC 3339) also what served then."""
    return Call("GET", "/models/history", ModelHistoryResponse, _query(at=at, limit=limit))


def activate(variant: str, *, version: str | int | None = None) -> Call[ModelsResponse]:
    """Serve a variant from now on, and of `ml` a version of the registry; needs scope `admin`."""
    asked = {"variant": variant} if version is None else {"variant": variant, "version": version}
    return Call("PUT", "/models/active", ModelsResponse, body=_json(asked))


def rollback() -> Call[ModelsResponse]:
    """Serve what served before; needs the scope `admin`."""
    return Call("POST", "/models/rollback", ModelsResponse, repeatable=False)


def quality(*, symbol: str | None = None) -> Call[QualityResponse]:
    """How the service's own forecasts turned out, of all symbols or of one."""
    return Call("GET", "/quality", QualityResponse, _query(symbol=symbol))


def drift() -> Call[DriftResponse]:
    """What the newest check of drift found."""
    return Call("GET", "/drift", DriftResponse)


def metrics(*names: str) -> Call[Exposition]:
    """The metrics of the service, or those of these names alone."""
    return _MetricsCall("GET", "/metrics", Exposition, {"name[]": names})


def stream(symbols: Sequence[str] | None, last_id: str | None) -> Call[Answer]:
    """News of these symbols (None: of all) after the event `last_id`; `EventParser` reads it."""
    names = ",".join(symbols) if symbols is not None else None
    headers = {} if last_id is None else {"Last-Event-ID": last_id}
    return Call("GET", "/stream", Answer, _query(symbols=names), headers)


def _segment(symbol: str) -> str:
    return quote(symbol, safe="")


def _query(**given: str | float | None) -> dict[str, str]:
    return {name: str(value) for name, value in given.items() if value is not None}


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
