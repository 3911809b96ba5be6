"""Copies of a record that differ from it in one field each, by the least step.

The fields are those of the record's type, so that a field added later is covered by itself.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from msgspec import Struct, structs

from volsvc.domain import NS, FeatureRow, PointForecast, Prediction, Quality, Snapshot, Warmed
from volsvc.domain.feature_names import SCALE_NAMES, WINDOW_NAMES

Record = TypeVar("Record")

# A snapshot of which every field is set.
SNAPSHOT = Snapshot(
    row=FeatureRow("BTC-USD", 1_767_571_201 * NS, 100.0, 1e-6, 1e-5, 49, 10.0),
    score=0.1,
    variant="ml",
    version="1",
    predictions=(
        Prediction(60.0, 1e-3, 5e-4, 2e-3, 1.5e-3, 0.1),
        Prediction(300.0, 2e-3, 1e-3, 4e-3, 3e-3, 0.2),
    ),
    quality=Quality(
        *(1, 2, 3, 1.0, "ok", "own", 4, 500, 6),
        Warmed("venue", "2026-01-01T00:00:00.000Z", 1_440),
    ),
    features={"level": 1e-9, "trend": None},
    prediction_id="BTC-USD/2026-01-05T00:00:00.000Z/ml-1",
)
# One as plain numbers, as the consumer makes it.
FORECAST = PointForecast(
    SNAPSHOT.row,
    (1e-6, 1e-5, 49.0, 10.0, *(1e-9 * number for number, _ in enumerate(SCALE_NAMES, 1))),
    (60.0, 300.0),
    ((1e-3, 5e-4, 2e-3, 1.5e-3, 0.1), (2e-3, 1e-3, 4e-3, 3e-3, 0.2)),
    300.0,
    SNAPSHOT.variant,
    SNAPSHOT.version,
    SNAPSHOT.quality,
    SNAPSHOT.prediction_id,
)


def variations(record: Record) -> Iterator[tuple[str, Record]]:
    """Yield the path of each field at any depth, and a copy of the record that differs there.

    `record` is a NamedTuple, a struct or a data class. A number changes by one bit or by one, and
    a text by a letter or to another of the allowed ones.
    """
    hints = get_type_hints(type(record))
    for name in _names(record):
        for path, other in _others(getattr(record, name), hints[name]):
            yield f"{name}{path}", _replace(record, name, other)


def published_variations() -> Iterator[tuple[str, PointForecast]]:
    """Yield as `variations` do of FORECAST, where it differs in its record or in an answer."""
    # What the window gives to the model is published as fields of the row.
    window = [f"inputs.{place}" for place, _ in enumerate(WINDOW_NAMES)]
    for path, other in variations(FORECAST):
        if path not in ("score_horizon_s", *window):
            yield path, other._replace(score_horizon_s=other.horizons_s[1])
    yield "score_horizon_s", FORECAST._replace(score_horizon_s=FORECAST.horizons_s[0])
    cold = _replace(FORECAST.quality, "verdict", "cold")
    unknown = (math.nan,) * len(FORECAST.inputs)
    yield "first minute", FORECAST._replace(inputs=unknown, quality=cold)


def _names(record: Any) -> tuple[str, ...]:
    if isinstance(record, Struct):
        return record.__struct_fields__
    if dataclasses.is_dataclass(record):
        return tuple(field.name for field in dataclasses.fields(record))
    names: tuple[str, ...] = record._fields
    return names


def _replace(record: Any, name: str, value: Any) -> Any:
    if isinstance(record, Struct):
        return structs.replace(record, **{name: value})
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        return dataclasses.replace(record, **{name: value})
    return record._replace(**{name: value})


def _others(value: Any, hint: Any) -> Iterator[tuple[str, Any]]:
    """Yield the path inside a value, and the value changed there."""
    if dataclasses.is_dataclass(value) or isinstance(value, Struct) or hasattr(value, "_fields"):
        yield from ((f".{path}", other) for path, other in variations(value))
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            for path, other in _others(item, get_args(hint)[0]):
                yield f".{index}{path}", (*value[:index], other, *value[index + 1 :])
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield f".{key}", {**value, key: _next(item, hint)}
    else:
        yield "", _next(value, hint)


def _next(value: Any, hint: Any) -> Any:
    """Return another value of the same kind; None becomes a number."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, float):
        return math.nextafter(value, math.inf)
    if isinstance(value, str):
        allowed = get_args(hint) if get_origin(hint) is Literal else (f"{value}x",)
        return next(text for text in allowed if text != value)
    return value + 1 if value is not None else 0.5
