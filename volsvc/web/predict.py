"""POST /predict: one vectorised model call a request, off the event loop where it is large."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
import numpy as np
from aiohttp import web
from numpy.typing import NDArray

from volsvc.domain import COVERAGE, Forecast, format_time
from volsvc.domain.forecast import SECONDS_PER_YEAR
from volsvc.models import Model, Serving, surely
from volsvc.web.admission import WORKERS
from volsvc.web.problems import MEDIA_TYPE, ProblemError
from volsvc.web.rows import Asked, PostedRow, read_request
from volsvc.web.services import SERVICES, Services

FALLBACK_HEADER = "X-Model-Fallback"
"""On answers of another model than was asked for; they name the one that gave them."""
INLINE_BYTES = 32 * 1024
"""Bodies above this size (some 500 rows) are answered in a thread: a millisecond and more."""

_LENIENT = re.compile(r"(^|[,;\s])handling\s*=\s*\"?lenient\"?\s*($|[,;])", re.IGNORECASE)
_BODY_TYPES = frozenset(
    # What tools say of a body whose type they were not told is let through: curl, hey, requests.
    (
        "application/json",
        "application/octet-stream",
        "application/x-www-form-urlencoded",
        "text/html",
        "text/plain",
    )
)


class _RowPrediction(msgspec.Struct, gc=False):
    sigma: float
    sigma_annualised: float
    lo: float
    hi: float
    coverage: float
    threshold: float
    quality: str


@dataclass(frozen=True, slots=True)
class _Job:
    """A request as far as the event loop has to know it."""

    body: bytes
    lenient: bool
    serving: Serving
    services: Services


async def predict(request: web.Request) -> web.Response:
    """POST /predict: forecasts for posted rows."""
    _check_type(request)
    services = request.app[SERVICES]
    lenient = _LENIENT.search(request.headers.get("Prefer", "")) is not None
    job = _Job(await request.read(), lenient, services.holder.current, services)
    with services.tracer.span("predict"):
        if len(job.body) > INLINE_BYTES:
            body, fallback = await request.app[WORKERS].run(partial(_answer, job))
        else:
            body, fallback = _answer(job)
    headers = {"Cache-Control": "no-store"}
    if fallback:
        headers[FALLBACK_HEADER] = "true"
    if lenient:
        headers["Preference-Applied"] = "handling=lenient"
    return web.Response(body=body, content_type="application/json", headers=headers)


def _check_type(request: web.Request) -> None:
    kind = request.content_type
    if not (kind in _BODY_TYPES or kind.endswith("+json")):
        raise ProblemError(MEDIA_TYPE, "the body must be JSON: Content-Type: application/json")


def _answer(job: _Job) -> tuple[bytes, bool]:
    """The answer's body, and whether another model gave it than was asked for.

    Raises what the request's reader raises, and ModelError.
    """
    services, serving = job.services, job.serving
    metrics, variant = services.metrics, serving.model.variant
    try:
        asked = read_request(job.body, services.settings.http.max_rows, lenient=job.lenient)
    except Exception:
        metrics.predictions.labels(variant, "invalid").inc()
        raise
    horizon_s = asked.horizon_s or services.settings.model.horizon_s
    threshold = asked.threshold or _thresholds(asked.rows, horizon_s, services)
    started = time.perf_counter()
    # A row may claim anything; what overflows is bounded by the model.
    with np.errstate(over="ignore"):
        model, forecast = surely(
            serving, lambda model: model.predict(asked.matrix, horizon_s, threshold)
        )
    variant, fallback = model.variant, serving.fallback or model is not serving.model
    metrics.inference_duration.labels(variant).observe(time.perf_counter() - started)
    outcome = "fallback" if fallback else "ok"
    metrics.predictions.labels(variant, outcome).inc(len(asked.rows))
    if asked.faults:
        metrics.predictions.labels(variant, "invalid").inc(asked.count - len(asked.rows))
    metrics.predict_rows.observe(asked.count)
    return msgspec.json.encode(_fields(asked, forecast, model)), fallback


def _fields(asked: Asked, forecast: Forecast, model: Model) -> dict[str, Any]:
    fields = {
        "scores": _placed(forecast.p_spike.tolist(), asked),
        "model_variant": model.variant,
        "version": model.version,
        "ts": format_time(time.time_ns() // 1_000_000 * 1_000_000),
        "horizon_s": forecast.horizon_s,
        "predictions": _placed(_predictions(forecast, asked.rows), asked),
    }
    if asked.faults:
        fields["errors"] = asked.faults
    return fields


def _placed(values: list[Any], asked: Asked) -> list[Any]:
    """One value a row of the request, None for rows that were not valid."""
    if len(values) == asked.count:
        return values
    by_place = dict(zip(asked.places, values, strict=True))
    return [by_place.get(place) for place in range(asked.count)]


def _predictions(forecast: Forecast, rows: Sequence[PostedRow]) -> list[_RowPrediction]:
    sigma = np.sqrt(forecast.sigma2)
    columns = zip(
        sigma.tolist(),
        (sigma * math.sqrt(SECONDS_PER_YEAR / forecast.horizon_s)).tolist(),
        forecast.lo.tolist(),
        forecast.hi.tolist(),
        forecast.threshold.tolist(),
        rows,
        strict=True,
    )
    return [
        _RowPrediction(
            sigma, annual, lo, hi, COVERAGE, threshold, "ok" if _timed(row) else "degraded"
        )
        for sigma, annual, lo, hi, threshold, row in columns
    ]


def _timed(row: PostedRow) -> bool:
    """Whether the row says what time it covers."""
    return bool(row.span_s or row.features)


def _thresholds(
    rows: Sequence[PostedRow], horizon_s: float, services: Services
) -> NDArray[np.float64]:
    """A known symbol lends its rows its own idea of a spike; NaN for the others."""
    rates: dict[Any, float] = {}
    for symbol in {row.symbol for row in rows if row.symbol}:
        posted = services.board.find(symbol)
        if posted is None:
            continue
        predictions = posted.snapshot.predictions
        nearest = min(predictions, key=lambda p: abs(math.log(p.horizon_s / horizon_s)))
        rates[symbol] = nearest.threshold / math.sqrt(nearest.horizon_s)
    return np.array([rates.get(row.symbol, math.nan) for row in rows]) * math.sqrt(horizon_s)
