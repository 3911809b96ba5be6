"""The targets of the fuzzer: each takes bytes, and raises only for a fault."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from pydantic import ValidationError

from volsvc.domain import InvalidTickError, NotATickError, Tick
from volsvc.models import Baseline
from volsvc.telemetry.feed_metrics import REJECTIONS
from volsvc.transport import Record
from volsvc.transport.codec import dead_letter, decode_tick, encode_tick
from volsvc.web.openapi import examples
from volsvc.web.problems import MAX_ERRORS, ProblemError, as_problem
from volsvc.web.routes.predict_body import read_request

MAX_ROWS = 50
_MODEL = Baseline()
_TICK = Tick("BTC-USD", 1_767_622_800_000_000_000, 7e4, 69_999.5, 70_000.5, 0.5, "buy", 1, 2, "csv")

TICK_SEEDS: Sequence[bytes] = (
    encode_tick(_TICK).value or b"",
    (
        b'{"type":"ticker","product_id":"ETH-USD","price":"2500.10","last_size":"0.1","side":"sell",'
        b'"time":"2026-01-05T14:00:00.123456Z","trade_id":7,"sequence":9,"best_bid":"2500"}'
    ),
    b'{"symbol":"a","timestamp":1767622800,"price":1e-9}',
    b'{"type":"subscriptions","channels":[]}',
)
BODY_SEEDS: Sequence[bytes] = (
    *(json.dumps(example).encode() for example in examples.PREDICT.values()),
    b'{"rows":[{"ret_mean":0,"ret_std":1,"n":5,"ts":"2026-01-05T14:00:00Z","span_s":null},{}]}',
    b'{"rows":[{"ret_mean":-0.0,"ret_std":1e-300,"n":50.0,"symbol":"\\u0041"}],"threshold":1e-9}',
)


def tick(data: bytes) -> None:
    """Decode a record of `ticks.raw`: a tick that can be encoded, or a dead letter for a reason."""
    record = Record("ticks.raw", 0, 0, b"key", data, ())
    try:
        found = decode_tick(record)
    except (InvalidTickError, NotATickError) as error:
        dead_letter(record, error)
        reason = error.reason if isinstance(error, InvalidTickError) else "not_a_tick"
        assert reason in REJECTIONS, reason
        return
    assert found.price > 0
    encode_tick(found)


def body(data: bytes) -> None:
    """Answer a body of /predict: a forecast, or 400 or 422 with the places of the faults."""
    lenient = bool(data) and data[-1] % 2 == 0
    try:
        asked = read_request(data, MAX_ROWS, lenient=lenient)
    except (ProblemError, ValidationError) as error:
        problem = as_problem(error)
        assert problem is not None
        assert problem.type.status in (400, 422)
        assert len(problem.errors) <= MAX_ERRORS
        return
    assert 0 < asked.count <= MAX_ROWS
    with np.errstate(over="ignore"):
        forecast = _MODEL.predict(asked.matrix, asked.horizon_s or 60.0, asked.threshold)
    for values in (forecast.sigma2, forecast.lo, forecast.hi, forecast.p_spike):
        assert np.isfinite(values).all()
    assert ((forecast.p_spike >= 0) & (forecast.p_spike <= 1)).all()


TARGETS: Mapping[str, tuple[Callable[[bytes], None], Sequence[bytes]]] = {
    "tick": (tick, TICK_SEEDS),
    "body": (body, BODY_SEEDS),
}
