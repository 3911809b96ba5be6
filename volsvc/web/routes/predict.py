"""POST /predict: one vectorised model call a request, off the event loop where it is large."""

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
from volsvc.models import Model, forecast_window
from volsvc.serving.holder import Serving, with_fallback
from volsvc.web.admission import WORKERS
from volsvc.web.compression import GZIP_ELSEWHERE
from volsvc.web.problems import MEDIA_TYPE, ProblemError
from volsvc.web.routes.predict_body import Asked, PostedRow, read_request
from volsvc.web.schemas.predict import RowPrediction
from volsvc.web.services import SERVICES, Services
from volsvc.web.views import now_text

# On answers of another model than was asked for; they name the one that gave them.
FALLBACK_HEADER = "X-Model-Fallback"
# Bodies above this size (some 500 rows) are answered in a thread: a millisecond and more.
INLINE_BYTES = 32 * 1024
# The same where each of the rows may be faulty, and would be explained.
INLINE_LENIENT_BYTES = 4 * 1024

# Up to so many windows are forecast one by one, which is then the quicker way.
FEW = 4

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


# The schema's fields in their order, for thousands of rows; nothing is checked.
_Row = msgspec.defstruct("_Row", tuple(RowPrediction.model_fields), gc=False)


@dataclass(frozen=True, slots=True)
class Job:
    """A request as far as the event loop has to know it."""

    body: bytes
    lenient: bool
    serving: Serving
    services: Services


async def predict(request: web.Request) -> web.Response:
    """POST /predict: forecasts for posted rows."""
    _check_type(request)
    services = request.app[SERVICES]
    job = Job(await request.read(), is_lenient(request.headers), services.holder.current, services)
    with services.tracer.span("predict"):
        if len(job.body) > inline_bytes(lenient=job.lenient):
            body, headers = await request.app[WORKERS].run(partial(answer, job))
        else:
            body, headers = answer(job)
    return web.Response(body=body, headers=headers, zlib_executor_size=GZIP_ELSEWHERE)


def inline_bytes(*, lenient: bool) -> int:
    """The size up to which a body is answered on the event loop."""
    return INLINE_LENIENT_BYTES if lenient else INLINE_BYTES


def is_lenient(headers: Mapping[str, str]) -> bool:
    """Whether the client wants valid rows answered beside faulty ones."""
    return _LENIENT.search(headers.get("Prefer", "")) is not None


def _check_type(request: web.Request) -> None:
    kind = request.content_type
    if not (kind in _BODY_TYPES or kind.endswith("+json")):
        raise ProblemError(MEDIA_TYPE, "the body must be JSON: Content-Type: application/json")


def answer(job: Job) -> tuple[bytes, dict[str, str]]:
    """The answer's body and headers.

    Raises what the request's reader raises, and ModelError.
    """
    services, serving = job.services, job.serving
    metrics, variant = services.metrics, serving.model.variant
    try:
        asked = read_request(job.body, services.settings.http.max_rows, lenient=job.lenient)
    except Exception:
        metrics.count_predicted(variant, "invalid").inc()
        raise
    horizon_s = asked.horizon_s or services.settings.model.horizon_s
    thresholds = _thresholds(asked, horizon_s, services)
    started = time.perf_counter()
    model, said = with_fallback(serving, lambda model: _said(model, asked, horizon_s, thresholds))
    variant, fallback = model.variant, serving.fallback or model is not serving.model
    metrics.time_inference(variant).observe(time.perf_counter() - started)
    outcome = "fallback" if fallback else "ok"
    metrics.count_predicted(variant, outcome).inc(len(asked.rows))
    if asked.faults:
        metrics.count_predicted(variant, "invalid").inc(asked.count - len(asked.rows))
    metrics.predict_rows.observe(asked.count)
    headers = {"Cache-Control": "no-store", "Content-Type": "application/json"}
    if fallback:
        headers[FALLBACK_HEADER] = "true"
    if job.lenient:
        headers["Preference-Applied"] = "handling=lenient"
    return msgspec.json.encode(_fields(asked, said, model, horizon_s)), headers


class _Said(NamedTuple):
    """What a model says of the valid rows, a list for each number; see `Forecast`."""

    sigma2: Sequence[float]
    p_spike: Sequence[float]
    lo: Sequence[float]
    hi: Sequence[float]
    threshold: Sequence[float]


def _said(model: Model, asked: Asked, horizon_s: float, thresholds: Sequence[float]) -> _Said:
    """The model's forecasts; few windows are not worth an array."""
    if 0 < len(asked.rows) <= FEW and not asked.scales:
        pairs = zip(asked.windows, thresholds, strict=True)
        forecasts = [forecast_window(model, window, horizon_s, given) for window, given in pairs]
        return _Said(*zip(*forecasts, strict=True))
    # A row may claim anything; what overflows is bounded by the model.
    with np.errstate(over="ignore"):
        said = model.predict(asked.matrix, horizon_s, np.array(thresholds))
    columns = (said.sigma2, said.p_spike, said.lo, said.hi, said.threshold)
    return _Said(*(column.tolist() for column in columns))


def _fields(asked: Asked, said: _Said, model: Model, horizon_s: float) -> dict[str, Any]:
    fields = {
        "scores": _placed(said.p_spike, asked),
        "model_variant": model.variant,
        "version": model.version,
        "ts": now_text(),
        "horizon_s": horizon_s,
        "predictions": _placed(_predictions(said, asked.rows, horizon_s), asked),
    }
    if asked.faults:
        fields["errors"] = asked.faults
    return fields


def _placed(values: Sequence[Any], asked: Asked) -> Sequence[Any]:
    """One value a row of the request, None for rows that were not valid."""
    if len(values) == asked.count:
        return values
    by_place = dict(zip(asked.places, values, strict=True))
    return [by_place.get(place) for place in range(asked.count)]


def _predictions(said: _Said, rows: Sequence[PostedRow], horizon_s: float) -> list[Any]:
    sigmas = list(map(math.sqrt, said.sigma2))
    a_year = math.sqrt(SECONDS_PER_YEAR / horizon_s)
    columns = (
        sigmas,
        [sigma * a_year for sigma in sigmas],
        said.lo,
        said.hi,
        repeat(COVERAGE),
        said.threshold,
        # A row that does not say what time it covers is taken at its word for less.
        ["ok" if row.span_s or row.features else "degraded" for row in rows],
    )
    return list(map(_Row, *columns))


def _thresholds(asked: Asked, horizon_s: float, services: Services) -> list[float]:
    """What counts as a spike, by row: as asked, or a known symbol's own idea of it, or NaN."""
    if asked.threshold:
        return [asked.threshold] * len(asked.rows)
    rates: dict[Any, float] = {}
    for symbol in {row.symbol for row in asked.rows if row.symbol}:
        posted = services.latest_store.find(symbol)
        if posted is None:
            continue
        predictions = posted.snapshot.predictions
        nearest = min(predictions, key=lambda p: abs(math.log(p.horizon_s / horizon_s)))
        rates[symbol] = nearest.threshold / math.sqrt(nearest.horizon_s)
    if not rates:
        return [math.nan] * len(asked.rows)
    root = math.sqrt(horizon_s)
    return [rates.get(row.symbol, math.nan) * root for row in asked.rows]
