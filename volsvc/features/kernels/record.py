"""The record of a symbol: everything that is kept of it but for the ring of its prices.

`TICKS` changes with ticks, `LEARNT` with the forecasts made of them. A state is published after a
tick of a batch, when the ticks after it have been applied already, so both parts are copied apart.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

import numpy as np

from volsvc.compiled import kernel, record_type
from volsvc.features.kernels import (
    calibration,
    minutes,
    multiscale,
    price_window,
    prints,
    realised,
    tick_check,
)
from volsvc.scoring import scores

# `partition` and `offset` are the place in the log of the newest tick in the state, `step` the
# newest step of the publishing grid. `next` is a tick whose turn has come; `outside` are ticks that
# wait for older ones (`tick_order`).
TICKS = record_type(
    [
        ("partition", "i8"),
        ("offset", "i8"),
        ("step", "i8"),
        ("outside", "i8"),
        ("check", tick_check.TICK_CHECK),
        ("window", price_window.WINDOW),
        ("next", prints.WAITING_TICK),
        ("prints", prints.PRINTS),
        ("minute", minutes.CURRENT_MINUTE),
        ("warmed", minutes.WARMED),
        ("multiscale", multiscale.MULTISCALE),
    ]
)
# A head of the digest chain is that after the newest link; `closed_head` that at the end of
# `closed_minute`, which is -1 before the first.
DIGEST = record_type([("head", "u1", (32,)), ("closed_minute", "i8"), ("closed_head", "u1", (32,))])
# Calibrations are by the place of a variant in scores.VARIANTS.
LEARNT = record_type(
    [
        ("realised", realised.REALISED),
        ("calibrations", calibration.CALIBRATION, (len(scores.VARIANTS),)),
        ("scores", scores.SCORES),
        ("digest", DIGEST),
    ]
)
STATE = record_type([("ticks", TICKS), ("learnt", LEARNT)])


def _described(dtype: np.dtype[Any]) -> str:
    """Return the names, offsets and types of all fields of a record."""
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return f"{_described(base)}{shape}"
    if dtype.fields is None:
        return dtype.str
    fields = ((name, *dtype.fields[name][:2]) for name in dtype.names or ())
    return "".join(f"{name}@{offset}:{_described(kind)};" for name, kind, offset in fields)


def place_of(dtype: np.dtype[Any], name: str) -> int:
    """Return the place of a field in the bytes of a record."""
    assert dtype.fields is not None, "a record has fields"
    return int(dtype.fields[name][1])


# Names the layout: bytes are read under the schema that they were written under.
SCHEMA_ID: Final = hashlib.sha256(_described(STATE).encode()).hexdigest()[:16]


@kernel
def start(state: Any) -> None:
    """Make a record of zeros a symbol without ticks."""
    state.ticks.offset = -1
    state.ticks.step = -1
    tick_check.start(state.ticks.check)
    price_window.start(state.ticks.window)
    minutes.start(state.ticks.minute)
    multiscale.start(state.ticks.multiscale)
    realised.start(state.learnt.realised)
    for index in range(len(state.learnt.calibrations)):
        state.learnt.calibrations[index].minute = -1
    scores.start(state.learnt.scores)
    state.learnt.digest.closed_minute = -1
