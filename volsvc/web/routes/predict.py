"""Handler of POST /predict: one model call per request, in a thread if the body is large."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Any, NamedTuple

import msgspec
import numpy as np
from aiohttp import web

from volsvc.domain import COVERAGE
from volsvc.domain.forecast import SECONDS_PER_YEAR
from volsvc.models import Model
from volsvc.pipeline.latest_store import LatestStore
from volsvc.serving.model_choice import Serving, with_fallback
from volsvc.telemetry.serving_metrics import ModelMetrics
from volsvc.web.admission import WORKERS
from volsvc.web.compression import GZIP_ELSEWHERE
from volsvc.web.problem_types import UNSUPPORTED_MEDIA_TYPE
from volsvc.web.problems import ProblemError, not_ready
from volsvc.web.request_body import read_body
from volsvc.web.routes.predict_body import ParsedRequest, PostedRow, read_request
from volsvc.web.schemas.predict import RowPrediction
from volsvc.web.services import SERVICES, Services
from volsvc.web.views import now_text

# Set on answers of another model than the requested one; the body names the model.
FALLBACK_HEADER = "X-Model-Fallback"
# Larger bodies (about 500 rows) take more than a millisecond and are answered in a thread.
INLINE_BYTES = 32 * 1024
# The same for lenient requests, where each row may be invalid and has its errors reported.
INLINE_LENIENT_BYTES = 4 * 1024

_LENIENT = re.compile(r"(^|[,;\s])handling\s*=\s*\"?lenient\"?\s*($|[,;])", re.IGNORECASE)
_BODY_TYPES = frozenset(
    # Tools that were given no type send one of these with a JSON body: curl, hey, requests.
    (
        "application/json",
        "application/octet-stream",
        "application/x-www-form-urlencoded",
        "text/html",
        "text/plain",
    )
)


# The fields of the schema `RowPrediction`, without its validation: for thousands of rows.
_RowPrediction = msgspec.defstruct("_RowPrediction", tuple(RowPrediction.model_fields), gc=False)


@dataclass(frozen=True, slots=True)
class PredictJob:
    """A prediction request with all that its answer needs, so that a thread can work on it.

    `serving` is read once per request: number, variant and version then belong to one model.
    """

    body: bytes
    lenient: bool
    serving: Serving
    services: Services


async def predict(request: web.Request) -> web.Response:
    """POST /predict: forecasts of posted rows."""
    _check_type(request)
    services = request.app[SERVICES]
    lenient = is_lenient(request.headers)
    job = PredictJob(await read_body(request), lenient, services.holder.current, services)
    with services.tracer.span("predict"):
        if len(job.body) > inline_bytes(lenient=job.lenient):
            body, headers = await request.app[WORKERS].run(partial(answer, job))
        else:
            body, headers = answer(job)
    return web.Response(body=body, headers=headers, zlib_executor_size=GZIP_ELSEWHERE)


def inline_bytes(*, lenient: bool) -> int:
    """Return the largest size of a body that is answered on the event loop."""
    return INLINE_LENIENT_BYTES if lenient else INLINE_BYTES


def is_lenient(headers: Mapping[str, str]) -> bool:
    """Return True if valid rows are to be answered although others are invalid (RFC 7240)."""
    return _LENIENT.search(headers.get("Prefer", "")) is not None


def _check_type(request: web.Request) -> None:
    content_type = request.content_type
    if not (content_type in _BODY_TYPES or content_type.endswith("+json")):
        raise ProblemError(UNSUPPORTED_MEDIA_TYPE, "Content-Type must be application/json")


def answer(job: PredictJob) -> tuple[bytes, dict[str, str]]:
    """Return the body and the headers of an answer.

    Raises ProblemError or ValidationError if the body is not valid or the kernels are not compiled
    yet, and ModelError if no model returns a forecast.
    """
    services, serving = job.services, job.serving
    if not services.health.compiled:
        # On the event loop it would hold up every other request until all is compiled.
        raise not_ready("compiling")
    metrics = services.metrics.model
    try:
        parsed = read_request(job.body, services.settings.http.max_rows, lenient=job.lenient)
    except Exception:
        metrics.count_predicted(serving.model.variant, "invalid").inc()
        raise
    horizon_s = parsed.horizon_s or services.settings.model.horizon_s
    thresholds = _spike_thresholds(parsed, horizon_s, services)
    started = time.perf_counter()
    model, forecasts = with_fallback(
        serving, lambda model: _forecast(model, parsed, horizon_s, thresholds)
    )
    fallback = serving.fallback or model is not serving.model
    metrics.time_inference(model.variant).observe(time.perf_counter() - started)
    _count_rows(metrics, parsed, model.variant, "fallback" if fallback else "ok")
    headers = {"Cache-Control": "no-store", "Content-Type": "application/json"}
    if fallback:
        headers[FALLBACK_HEADER] = "true"
    if job.lenient:
        headers["Preference-Applied"] = "handling=lenient"
    return msgspec.json.encode(_response_fields(parsed, forecasts, model, horizon_s)), headers


def _count_rows(metrics: ModelMetrics, parsed: ParsedRequest, variant: str, outcome: str) -> None:
    metrics.count_predicted(variant, outcome).inc(len(parsed.rows))
    if parsed.errors:
        metrics.count_predicted(variant, "invalid").inc(parsed.count - len(parsed.rows))
    metrics.predict_rows.observe(parsed.count)


class _Forecasts(NamedTuple):
    """The forecasts of the valid rows, as one sequence per field of `Forecast`."""

    sigma2: Sequence[float]
    p_spike: Sequence[float]
    lo: Sequence[float]
    hi: Sequence[float]
    threshold: Sequence[float]


def _forecast(
    model: Model, parsed: ParsedRequest, horizon_s: float, thresholds: Sequence[float] | None
) -> _Forecasts:
    """Return the model's forecasts of the valid rows."""
    known = None if thresholds is None else np.array(thresholds)
    forecast = model.predict(parsed.matrix, horizon_s, known)
    return _Forecasts(
        forecast.sigma2.tolist(),
        forecast.p_spike.tolist(),
        forecast.lo.tolist(),
        forecast.hi.tolist(),
        forecast.threshold.tolist(),
    )


def _response_fields(
    parsed: ParsedRequest, forecasts: _Forecasts, model: Model, horizon_s: float
) -> dict[str, Any]:
    """Return the fields of schema `PredictResponse`."""
    predictions = _row_predictions(forecasts, parsed.rows, horizon_s)
    fields = {
        "scores": _by_position(forecasts.p_spike, parsed),
        "model_variant": model.variant,
        "version": model.version,
        "ts": now_text(),
        "horizon_s": horizon_s,
        "predictions": _by_position(predictions, parsed),
    }
    if parsed.errors:
        fields["errors"] = parsed.errors
    return fields


def _by_position(values: Sequence[Any], parsed: ParsedRequest) -> Sequence[Any]:
    """Return the valid rows' values at the rows' positions, with None for invalid rows."""
    if len(values) == parsed.count:
        return values
    by_position = dict(zip(parsed.positions, values, strict=True))
    return [by_position.get(position) for position in range(parsed.count)]


def _row_predictions(
    forecasts: _Forecasts, rows: Sequence[PostedRow], horizon_s: float
) -> list[Any]:
    """Return one `_RowPrediction` per valid row; volatilities are per sqrt(horizon_s)."""
    sigmas = list(map(math.sqrt, forecasts.sigma2))
    annual = math.sqrt(SECONDS_PER_YEAR / horizon_s)
    columns = (
        sigmas,
        [sigma * annual for sigma in sigmas],
        forecasts.lo,
        forecasts.hi,
        repeat(COVERAGE),
        forecasts.threshold,
        # Without a span or features the time that a row covers has to be assumed.
        ["ok" if row.span_s or row.features else "degraded" for row in rows],
    )
    return list(map(_RowPrediction, *columns))


def _spike_thresholds(
    parsed: ParsedRequest, horizon_s: float, services: Services
) -> list[float] | None:
    """Return the spike threshold of each valid row, as volatility per sqrt(horizon_s).

    That is the request's own, else the one of the row's live symbol, else NaN: the model's. Without
    any there is no list.
    """
    if parsed.threshold:
        return [parsed.threshold] * len(parsed.rows)
    rates = _threshold_rates(parsed.rows, horizon_s, services.latest_store)
    if not rates:
        return None
    root = math.sqrt(horizon_s)
    return [rates.get(row.symbol, math.nan) * root for row in parsed.rows]


def _threshold_rates(
    rows: Sequence[PostedRow], horizon_s: float, store: LatestStore
) -> dict[str, float]:
    """Return the thresholds of the rows' live symbols, per square root of a second."""
    rates: dict[str, float] = {}
    for symbol in {row.symbol for row in rows if row.symbol}:
        entry = store.find(symbol)
        if entry is None:
            continue
        # Volatility grows with about the root of time, so the nearest horizon, on a logarithmic
        # scale, is the best one to scale from.
        predictions = entry.snapshot.predictions
        nearest = min(predictions, key=lambda p: abs(math.log(p.horizon_s / horizon_s)))
        rates[symbol] = nearest.threshold / math.sqrt(nearest.horizon_s)
    return rates
