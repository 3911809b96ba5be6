"""What each route does."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from aiohttp import web
from prometheus_client.exposition import choose_encoder

import volsvc
from volsvc.board import Posted
from volsvc.domain import (
    COVERAGE,
    NS,
    Prediction,
    UnknownSymbolError,
    format_time,
)
from volsvc.features import SCALE_NAMES
from volsvc.live_settings import LIVE_KINDS
from volsvc.models import FEATURES, SCHEMA_VERSION
from volsvc.models.base import WINDOW_NAMES
from volsvc.web.problems import INVALID, NOT_READY, ProblemError
from volsvc.web.schemas import PredictRequest, Row
from volsvc.web.services import SERVICES, Services

DEFAULT_HISTORY = 100


def json_response(value: Any, **options: Any) -> web.Response:
    """An answer in JSON that nobody may keep."""
    headers = {"Cache-Control": "no-store", **options.pop("headers", {})}
    return web.Response(
        body=msgspec.json.encode(value),
        content_type=options.pop("content_type", "application/json"),
        headers=headers,
        **options,
    )


def _now() -> str:
    return format_time(time.time_ns() // 1_000_000 * 1_000_000)


# --- predictions --------------------------------------------------------------------------


async def predict(request: web.Request) -> web.Response:
    """POST /predict: forecasts for posted rows."""
    services = request.app[SERVICES]
    serving = services.holder.current
    variant = serving.model.variant
    try:
        asked = PredictRequest.model_validate_json(await request.read())
        _check_rows(asked, services.settings.http.max_rows)
    except Exception:
        services.metrics.predictions.labels(variant, "invalid").inc()
        raise
    horizon = asked.horizon_s or services.settings.model.horizon_s
    started = time.perf_counter()
    threshold = asked.threshold or _thresholds(asked.rows, horizon, services)
    forecast = serving.model.predict(_matrix(asked.rows), horizon, threshold)
    services.metrics.inference_duration.labels(variant).observe(time.perf_counter() - started)
    outcome = "fallback" if serving.fallback else "ok"
    services.metrics.predictions.labels(variant, outcome).inc(len(asked.rows))
    services.metrics.predict_rows.observe(len(asked.rows))
    return json_response(
        {
            "scores": forecast.p_spike.tolist(),
            "model_variant": variant,
            "version": serving.model.version,
            "ts": _now(),
            "horizon_s": horizon,
            "predictions": [
                _row_prediction(Prediction.row(forecast, i), row)
                for i, row in enumerate(asked.rows)
            ],
        }
    )


def _check_rows(asked: PredictRequest, most: int) -> None:
    if len(asked.rows) > most:
        raise _invalid("#/rows", f"must have at most {most} rows, not {len(asked.rows)}")


def _thresholds(rows: list[Row], horizon_s: float, services: Services) -> np.ndarray[Any, Any]:
    """A known symbol lends its rows its own idea of a spike; NaN for the others."""
    rates: dict[str | None, float] = {}
    for symbol in {row.symbol for row in rows if row.symbol is not None}:
        try:
            predictions = services.board.get(symbol).snapshot.predictions
        except UnknownSymbolError:
            continue
        nearest = min(predictions, key=lambda p: abs(math.log(p.horizon_s / horizon_s)))
        rates[symbol] = nearest.threshold / math.sqrt(nearest.horizon_s)
    return np.array([rates.get(row.symbol, math.nan) for row in rows]) * math.sqrt(horizon_s)


def _matrix(rows: list[Row]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Posted rows as the model's matrix; `features` bring the whole state of a symbol."""
    matrix = np.full((len(rows), len(FEATURES)), np.nan)
    for index, row in enumerate(rows):
        matrix[index, : len(WINDOW_NAMES)] = row.ret_mean, row.ret_std, row.n, row.span_s or np.nan
        if row.features:
            matrix[index, len(WINDOW_NAMES) :] = _scales(row.features, index)
    return matrix


def _scales(features: Mapping[str, float | None], index: int) -> list[float]:
    """A published map as columns; all of it or nothing, since a model reads them together."""
    pointer = f"#/rows/{index}/features"
    unknown = sorted(set(features) - set(SCALE_NAMES))
    missing = [name for name in SCALE_NAMES if name not in features]
    if unknown:
        raise _invalid(f"{pointer}/{unknown[0]}", "is no feature of this schema version")
    if missing:
        raise _invalid(pointer, f"lacks {missing[0]!r}; send the map as it was published")
    values = [features[name] for name in SCALE_NAMES]
    if any(value is None for value in values):
        return [math.nan] * len(values)
    if features["level"] is not None and features["level"] <= 0:
        raise _invalid(f"{pointer}/level", "must be above 0")
    return [float("nan") if value is None else value for value in values]


def _invalid(pointer: str, detail: str) -> ProblemError:
    return ProblemError(INVALID, f"{pointer} {detail}", [{"pointer": pointer, "detail": detail}])


def _row_prediction(prediction: Prediction, row: Row) -> dict[str, Any]:
    timed = row.span_s is not None or row.features is not None
    return {
        "sigma": prediction.sigma,
        "sigma_annualised": prediction.sigma_annualised,
        "lo": prediction.lo,
        "hi": prediction.hi,
        "coverage": COVERAGE,
        "threshold": prediction.threshold,
        "quality": "ok" if timed else "degraded",
    }


# --- live symbols -------------------------------------------------------------------------


async def latest(request: web.Request) -> web.Response:
    """GET /latest/{symbol}: the newest features and forecasts of a symbol."""
    services = request.app[SERVICES]
    posted = services.board.get(request.match_info["symbol"])
    return json_response(_latest(posted, services))


async def latest_all(request: web.Request) -> web.Response:
    """GET /latest: the newest of every symbol."""
    services = request.app[SERVICES]
    symbols = [_latest(posted, services) for posted in services.board]
    return json_response({"ts": _now(), "symbols": symbols})


def _latest(posted: Posted, services: Services) -> dict[str, Any]:
    snapshot = posted.snapshot
    row = snapshot.row
    age = posted.age_s(time.time())
    if services.settings.source.kind in LIVE_KINDS:
        # What a live tick had been under way counts too.
        age += max(0.0, posted.processed_s - row.time_ns / NS)
    silent = row.symbol in services.health.silent
    return {
        "symbol": row.symbol,
        "ts": _now(),
        "as_of": format_time(row.time_ns),
        "age_s": round(age, 6),
        "stale": silent or age > services.settings.http.stale_after_s,
        "price": row.price,
        "ret_mean": row.ret_mean,
        "ret_std": row.ret_std,
        "n": row.n,
        "span_s": row.span_s,
        "score": snapshot.score,
        "model_variant": snapshot.variant,
        "version": snapshot.version,
        "predictions": [prediction.fields() for prediction in snapshot.predictions],
        "quality": snapshot.quality,
        "features": snapshot.features,
    }


async def history(request: web.Request) -> web.Response:
    """GET /history/{symbol}: the newest feature rows of a symbol, oldest first."""
    services = request.app[SERVICES]
    symbol = request.match_info["symbol"]
    limit = _limit(request, services.settings.features.history)
    rows = services.table.get(symbol).history.newest(limit, symbol)
    return json_response({"symbol": symbol, "rows": [row.fields() for row in rows]})


def _limit(request: web.Request, most: int) -> int:
    text = request.query.get("limit", str(min(DEFAULT_HISTORY, most)))
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= most):
        raise _invalid("#/limit", f"must be a whole number from 1 to {most}")
    return int(text)


# --- the service itself -------------------------------------------------------------------


async def health(request: web.Request) -> web.Response:
    """GET /health: what works and what does not; 200 while /predict answers."""
    state = request.app[SERVICES].health
    body = {"status": state.status, "checks": state.checks}
    return json_response(body, status=503 if state.status == "fail" else 200)


async def live(request: web.Request) -> web.Response:
    """GET /health/live: the event loop answers."""
    return json_response({"status": "ok", "checks": {}})


async def ready(request: web.Request) -> web.Response:
    """GET /health/ready: started and not draining."""
    state = request.app[SERVICES].health
    if not state.ready or state.draining:
        detail = "draining" if state.draining else "starting"
        raise ProblemError(NOT_READY, detail, headers={"Retry-After": "1"})
    return json_response({"status": "ok", "checks": {}})


async def version(request: web.Request) -> web.Response:
    """GET /version: what serves, and which build."""
    services = request.app[SERVICES]
    serving = services.holder.current
    return json_response(
        {
            "model": serving.name,
            "sha": services.settings.service.git_sha,
            "version": volsvc.__version__,
            "model_digest": serving.model.digest,
            "schema_version": SCHEMA_VERSION,
        }
    )


async def metrics(request: web.Request) -> web.Response:
    """GET /metrics: Prometheus' text format, or OpenMetrics for who asks for it."""
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    body = encode(request.app[SERVICES].metrics.registry)
    return web.Response(body=body, headers={"Content-Type": content_type})
