"""The body of POST /predict: read in one go where it is valid, and explained where it is not.

msgspec reads a valid body ten times as fast as pydantic. What it refuses is read again, row by row
with the pydantic models that the OpenAPI document shows, so that each fault has its place.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

import msgspec
import numpy as np
from msgspec import UNSET, Meta, UnsetType
from numpy.typing import NDArray
from pydantic import ValidationError

from volsvc.features import SCALE_NAMES
from volsvc.models import FEATURES
from volsvc.models.base import WINDOW_NAMES, Window
from volsvc.web.problems import INVALID_JSON, MAX_ERRORS, ProblemError, fault, faults_of, invalid
from volsvc.web.schemas.predict import LONGEST_HORIZON_S, PredictEnvelope, Row

# In one object; the longest that is valid is a map of features, and far shorter.
MAX_NAMES = 200
LONG_ROW_BYTES = 4_096

_COLUMNS = len(WINDOW_NAMES)


class PostedRow(Protocol):
    """A valid row, whoever read it; what was not given is None or unset, and false."""

    @property
    def ret_mean(self) -> float: ...  # noqa: D102
    @property
    def ret_std(self) -> float: ...  # noqa: D102
    @property
    def n(self) -> int: ...  # noqa: D102
    @property
    def symbol(self) -> Any: ...  # noqa: D102
    @property
    def span_s(self) -> Any: ...  # noqa: D102
    @property
    def features(self) -> Any: ...  # noqa: D102


class _Row(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """`schemas.Row`, for msgspec."""

    ret_mean: float
    ret_std: Annotated[float, Meta(ge=0)]
    n: Annotated[int, Meta(ge=1, le=1_000_000_000)]
    symbol: Annotated[str, Meta(max_length=64)] | UnsetType | None = UNSET
    ts: Annotated[str, Meta(max_length=40)] | UnsetType | None = UNSET
    span_s: Annotated[float, Meta(gt=0, le=31557600)] | UnsetType | None = UNSET
    features: dict[Annotated[str, Meta(max_length=64)], float | None] | UnsetType | None = UNSET


class _Request(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """`schemas.PredictRequest`, for msgspec."""

    rows: Annotated[list[_Row], Meta(min_length=1)]
    horizon_s: Annotated[float, Meta(ge=1, le=LONGEST_HORIZON_S)] | UnsetType | None = UNSET
    threshold: Annotated[float, Meta(gt=0)] | UnsetType | None = UNSET


_decode = msgspec.json.Decoder(_Request).decode
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: its valid rows with their `places` among `count` rows, and the others' faults.

    `scales` are the published maps as columns, by place.
    """

    rows: Sequence[PostedRow]
    places: Sequence[int]
    count: int
    scales: Mapping[int, Sequence[float]]
    horizon_s: float | None
    threshold: float | None
    faults: list[dict[str, str]]

    @property
    def windows(self) -> list[Window]:
        """The windows of the valid rows."""
        return [
            (row.ret_mean, row.ret_std, float(row.n), row.span_s or math.nan) for row in self.rows
        ]

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The valid rows as a feature matrix, of shape (valid rows, len(FEATURES))."""
        matrix = np.full((len(self.rows), len(FEATURES)), np.nan)
        matrix[:, 0] = [row.ret_mean for row in self.rows]
        matrix[:, 1] = [row.ret_std for row in self.rows]
        matrix[:, 2] = [row.n for row in self.rows]
        matrix[:, 3] = [row.span_s or math.nan for row in self.rows]
        for index, place in enumerate(self.places):
            if place in self.scales:
                matrix[index, _COLUMNS:] = self.scales[place]
        return matrix


def read_request(body: bytes, most: int, *, lenient: bool) -> Asked:
    """The request in `body` with at most `most` rows.

    Raises ProblemError or ValidationError; if `lenient`, faults of single rows are noted instead.
    """
    request = _read_fast(body)
    if request is not None:
        count = len(request.rows)
        _check_count(count, most)
        # No escapes are in a body that was read fast: the name is there as it is, or not at all.
        if b'"features"' in body and any(isinstance(row.features, dict) for row in request.rows):
            return _asked(dict(enumerate(request.rows)), request, count, [], lenient)
        return Asked(request.rows, range(count), count, {}, *_options(request), [])
    _check_shape(body, most)
    envelope = PredictEnvelope.model_validate_json(body)
    _check_count(len(envelope.rows), most)
    _refuse_duplicates(body)
    rows, faults = _read_rows(envelope.rows, lenient=lenient)
    return _asked(rows, envelope, len(envelope.rows), faults, lenient)


def _read_fast(body: bytes) -> _Request | None:
    """The request, if it is valid and no name is in it twice."""
    try:
        request = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    # A name that is there twice loses its first value without a word. Written out again, every name
    # is there once; so the colons differ. (Escapes would hide a colon, and are left to the others.)
    if b"\\" in body or body.count(b":") != _encode(request).count(b":"):
        return None
    return request


def _check_count(count: int, most: int) -> None:
    if count > most:
        raise invalid([fault("#/rows", f"must have at most {most} rows, not {count}")])


def _check_shape(body: bytes, most: int) -> None:
    """Refuse what would take seconds to explain: too many rows, or names that no model has."""
    top = _names(body, "#")
    try:
        rows = msgspec.json.decode(top.get("rows", b"[]"), type=list[msgspec.Raw])
    except msgspec.MsgspecError:
        return
    _check_count(len(rows), most)
    for place, row in enumerate(rows):
        if len(row) > LONG_ROW_BYTES:
            pointer = f"#/rows/{place}"
            features = _names(row, pointer).get("features")
            if features is not None:
                _names(features, f"{pointer}/features")


def _names(text: bytes | msgspec.Raw, pointer: str) -> dict[str, msgspec.Raw]:
    """The members of an object, unread; none of what is no object."""
    try:
        members = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    if len(members) > MAX_NAMES:
        raise invalid([fault(pointer, f"has {len(members)} names, more than {MAX_NAMES}")])
    return members


def _refuse_duplicates(body: bytes) -> None:
    def unique(pairs: list[tuple[str, Any]]) -> None:
        if len(names := {name for name, _ in pairs}) < len(pairs):
            twice = next(n for n in names if sum(n == name for name, _ in pairs) > 1)
            raise ProblemError(INVALID_JSON, f"the name {twice[:64]!r} is there twice in an object")

    try:
        json.loads(body, object_pairs_hook=unique, parse_int=str, parse_float=str)
    except (ValueError, RecursionError) as error:
        raise ProblemError(INVALID_JSON, f"cannot be read: {error}"[:200]) from error


def _read_rows(
    values: Sequence[Any], *, lenient: bool
) -> tuple[dict[int, PostedRow], list[dict[str, str]]]:
    """Valid rows by their place, and the faults of the others; a strict reader soon has enough."""
    rows: dict[int, PostedRow] = {}
    faults: list[dict[str, str]] = []
    for place, value in enumerate(values):
        try:
            rows[place] = Row.model_validate(value)
        except ValidationError as error:
            faults += faults_of(error, f"#/rows/{place}")[:MAX_ERRORS]
            if not lenient and len(faults) >= MAX_ERRORS:
                break
    return rows, faults


def _asked(
    rows: Mapping[int, PostedRow],
    options: _Request | PredictEnvelope,
    count: int,
    faults: list[dict[str, str]],
    lenient: bool,
) -> Asked:
    scales, more = _scales_of(rows)
    faults = faults + more
    if faults and not lenient:
        raise invalid(faults)
    bad = {int(item["pointer"].split("/")[2]) for item in more}
    places = [place for place in rows if place not in bad]
    valid = [rows[place] for place in places]
    return Asked(valid, places, count, scales, *_options(options), faults)


def _options(options: _Request | PredictEnvelope) -> tuple[float | None, float | None]:
    """Horizon and threshold, as far as they were given."""
    return options.horizon_s or None, options.threshold or None


def _scales_of(
    rows: Mapping[int, PostedRow],
) -> tuple[dict[int, list[float]], list[dict[str, str]]]:
    """The published maps as columns, by row; and what is wrong with them."""
    scales: dict[int, list[float]] = {}
    faults: list[dict[str, str]] = []
    for place, row in rows.items():
        if row.features is None or row.features is UNSET:
            continue
        wrong = _fault_of_map(row.features, f"#/rows/{place}/features")
        if wrong is None:
            scales[place] = _scales(row.features)
        else:
            faults.append(wrong)
    return scales, faults


def _fault_of_map(features: Mapping[str, float | None], pointer: str) -> dict[str, str] | None:
    unknown = sorted(set(features) - set(SCALE_NAMES))
    missing = [name for name in SCALE_NAMES if name not in features]
    if unknown:
        name = unknown[0].replace("~", "~0").replace("/", "~1")
        return fault(f"{pointer}/{name}", "is no feature of this schema version")
    if missing:
        return fault(pointer, f"lacks {missing[0]!r}; send the map as it was published")
    level = features["level"]
    if level is not None and level <= 0:
        return fault(f"{pointer}/level", "must be above 0")
    return None


def _scales(features: Mapping[str, float | None]) -> list[float]:
    """A published map as columns; all of it or nothing, since a model reads them together."""
    values = [features[name] for name in SCALE_NAMES]
    return [math.nan if None in values or value is None else value for value in values]
