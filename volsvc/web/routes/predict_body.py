"""Parser of POST /predict bodies: fast for valid ones, with exact error locations for others.

msgspec reads a valid body ten times as fast as pydantic. A body that it refuses is read again, row
by row, with the pydantic models of the OpenAPI document, which locate each error. A property test
holds the two readers equal.
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

from volsvc.domain.feature_names import SCALE_NAMES, WINDOW_NAMES
from volsvc.models import FEATURES
from volsvc.web.problem_types import INVALID_JSON
from volsvc.web.problems import (
    MAX_ERRORS,
    ProblemError,
    error_item,
    error_items,
    escape_pointer,
    invalid_value,
    validation_failed,
)
from volsvc.web.request_body import without_mark
from volsvc.web.schemas.predict import LONGEST_HORIZON_S, PredictEnvelope, Row

# Members of one object. The largest valid object, a map of features, has far fewer.
MAX_MEMBERS = 200
# A shorter row has too few members to take long.
LONG_ROW_BYTES = 4_096

_COLUMNS = len(WINDOW_NAMES)


class PostedRow(Protocol):
    """A valid row of either reader; a missing optional value is None or UNSET, both false."""

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
    """The schema `Row`, for msgspec."""

    ret_mean: float
    ret_std: Annotated[float, Meta(ge=0)]
    n: Annotated[int, Meta(ge=1, le=1_000_000_000)]
    symbol: Annotated[str, Meta(max_length=64)] | UnsetType | None = UNSET
    ts: Annotated[str, Meta(max_length=40)] | UnsetType | None = UNSET
    span_s: Annotated[float, Meta(gt=0, le=31557600)] | UnsetType | None = UNSET
    features: dict[Annotated[str, Meta(max_length=64)], float | None] | UnsetType | None = UNSET


class _Request(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The schema `PredictRequest`, for msgspec."""

    rows: Annotated[list[_Row], Meta(min_length=1)]
    horizon_s: Annotated[float, Meta(ge=1, le=LONGEST_HORIZON_S)] | UnsetType | None = UNSET
    threshold: Annotated[float, Meta(gt=0)] | UnsetType | None = UNSET


_decode = msgspec.json.Decoder(_Request).decode
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """The valid rows of a request of `count` rows, and the errors of the others.

    `rows[i]` is at index `positions[i]` of the request. `multiscale` has the published feature maps
    by position, their values in the order of SCALE_NAMES.
    """

    rows: Sequence[PostedRow]
    positions: Sequence[int]
    count: int
    multiscale: Mapping[int, Sequence[float]]
    horizon_s: float | None
    threshold: float | None
    errors: list[dict[str, str]]

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The valid rows as a feature matrix, of shape (valid rows, len(FEATURES))."""
        rows = self.rows
        matrix = np.empty((len(rows), len(FEATURES)))
        matrix.fill(np.nan)
        # In one assignment, since most requests have one row, for which each takes as long.
        columns: list[list[float]] = [
            [row.ret_mean for row in rows],
            [row.ret_std for row in rows],
            [row.n for row in rows],
            [row.span_s or math.nan for row in rows],
        ]
        matrix.T[:_COLUMNS] = columns
        if self.multiscale:
            for index, position in enumerate(self.positions):
                if position in self.multiscale:
                    matrix[index, _COLUMNS:] = self.multiscale[position]
        return matrix


def read_request(body: bytes, max_rows: int, *, lenient: bool) -> ParsedRequest:
    """Parse a body of at most `max_rows` rows.

    Raises ProblemError or ValidationError; if `lenient`, errors of single rows are collected.
    """
    body = without_mark(body)
    request = _read_fast(body)
    if request is not None:
        count = len(request.rows)
        _check_count(count, max_rows)
        # A body that was read fast has no escapes, so the name is found as it is or not there.
        if b'"features"' in body and any(isinstance(row.features, dict) for row in request.rows):
            return _parsed(dict(enumerate(request.rows)), request, count, [], lenient)
        return ParsedRequest(request.rows, range(count), count, {}, *_options(request), [])
    # First, because a report on a huge invalid body would take seconds.
    _check_shape(body, max_rows)
    envelope = PredictEnvelope.model_validate_json(body)
    _check_count(len(envelope.rows), max_rows)
    _refuse_duplicates(body)
    rows, errors = _read_rows(envelope.rows, lenient=lenient)
    return _parsed(rows, envelope, len(envelope.rows), errors, lenient)


def _read_fast(body: bytes) -> _Request | None:
    """Return the request if it is valid and has no name twice in an object, else None."""
    try:
        request = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    # msgspec silently keeps the last of two members of one name. Encoded again each name occurs
    # once, so that the number of colons differs: far cheaper than a second parser. Escapes could
    # hide a colon, so a body with any is left to the exact reader.
    if b"\\" in body or body.count(b":") != _encode(request).count(b":"):
        return None
    return request


def _check_count(count: int, max_rows: int) -> None:
    if count > max_rows:
        raise invalid_value("#/rows", f"must have at most {max_rows} rows, not {count}")


def _check_shape(body: bytes, max_rows: int) -> None:
    """Refuse bodies whose errors would take seconds to report: too many rows or members."""
    top = _members(body, "#")
    try:
        rows = msgspec.json.decode(top.get("rows", b"[]"), type=list[msgspec.Raw])
    except msgspec.MsgspecError:
        return
    _check_count(len(rows), max_rows)
    for position, row in enumerate(rows):
        if len(row) > LONG_ROW_BYTES:
            pointer = f"#/rows/{position}"
            features = _members(row, pointer).get("features")
            if features is not None:
                _members(features, f"{pointer}/features")


def _members(text: bytes | msgspec.Raw, pointer: str) -> dict[str, msgspec.Raw]:
    """Return the members of a JSON object, not decoded; none if `text` is no object."""
    try:
        members = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    if len(members) > MAX_MEMBERS:
        detail = f"must have at most {MAX_MEMBERS} members, not {len(members)}"
        raise invalid_value(pointer, detail)
    return members


def _refuse_duplicates(body: bytes) -> None:
    """Raise ProblemError if an object of the body has two members of one name."""

    def unique(pairs: list[tuple[str, Any]]) -> None:
        if len(names := {name for name, _ in pairs}) < len(pairs):
            twice = next(n for n in names if sum(n == name for name, _ in pairs) > 1)
            raise ProblemError(INVALID_JSON, f"the name {twice[:64]!r} occurs twice in an object")

    # Only names are checked here, so numbers are not converted.
    try:
        json.loads(body, object_pairs_hook=unique, parse_int=str, parse_float=str)
    except (ValueError, RecursionError) as error:
        raise ProblemError(INVALID_JSON, f"cannot be parsed: {error}"[:200]) from error


def _read_rows(
    values: Sequence[Any], *, lenient: bool
) -> tuple[dict[int, PostedRow], list[dict[str, str]]]:
    """Return the valid rows by position, and the errors of the others."""
    rows: dict[int, PostedRow] = {}
    errors: list[dict[str, str]] = []
    for position, value in enumerate(values):
        try:
            rows[position] = Row.model_validate(value)
        except ValidationError as error:
            errors += error_items(error, f"#/rows/{position}")[:MAX_ERRORS]
            # A strict answer lists no more errors than these, and the request is refused anyway.
            if not lenient and len(errors) >= MAX_ERRORS:
                break
    return rows, errors


def _parsed(
    rows: Mapping[int, PostedRow],
    options: _Request | PredictEnvelope,
    count: int,
    errors: list[dict[str, str]],
    lenient: bool,
) -> ParsedRequest:
    """Check the feature maps, and return the request; raises ProblemError for errors if strict."""
    multiscale, map_errors = _read_feature_maps(rows)
    errors = errors + map_errors
    if errors and not lenient:
        raise validation_failed(errors)
    # A pointer is "#/rows/<position>/features...".
    invalid = {int(item["pointer"].split("/")[2]) for item in map_errors}
    positions = [position for position in rows if position not in invalid]
    valid = [rows[position] for position in positions]
    return ParsedRequest(valid, positions, count, multiscale, *_options(options), errors)


def _options(options: _Request | PredictEnvelope) -> tuple[float | None, float | None]:
    """Return horizon and threshold; None where the request has none."""
    return options.horizon_s or None, options.threshold or None


def _read_feature_maps(
    rows: Mapping[int, PostedRow],
) -> tuple[dict[int, list[float]], list[dict[str, str]]]:
    """Return the values of the feature maps by position, and the errors of the maps."""
    values: dict[int, list[float]] = {}
    errors: list[dict[str, str]] = []
    for position, row in rows.items():
        if row.features is None or row.features is UNSET:
            continue
        error = _feature_map_error(row.features, f"#/rows/{position}/features")
        if error is None:
            values[position] = _multiscale_values(row.features)
        else:
            errors.append(error)
    return values, errors


def _feature_map_error(features: Mapping[str, float | None], pointer: str) -> dict[str, str] | None:
    """Return the first error of a feature map; None for a valid one."""
    unknown = sorted(set(features) - set(SCALE_NAMES))
    missing = [name for name in SCALE_NAMES if name not in features]
    if unknown:
        name = escape_pointer(unknown[0])
        return error_item(f"{pointer}/{name}", "is not a feature of this schema version")
    if missing:
        return error_item(pointer, f"lacks {missing[0]!r}; send the complete published map")
    level = features["level"]
    if level is not None and level <= 0:
        return error_item(f"{pointer}/level", "must be > 0")
    return None


def _multiscale_values(features: Mapping[str, float | None]) -> list[float]:
    """Return the values in the order of SCALE_NAMES; all NaN if one of them is null."""
    values = [features[name] for name in SCALE_NAMES]
    # A model reads the features together: a part of them would be no valid input.
    return [math.nan if None in values or value is None else value for value in values]
