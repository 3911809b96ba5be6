"""Tests of the parser of POST /predict bodies: both readers accept the same bodies."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from volsvc.features import SCALE_NAMES
from volsvc.web.problems import ProblemError
from volsvc.web.routes import predict_body as module
from volsvc.web.routes.predict_body import read_request
from volsvc.web.schemas.predict import PredictRequest

NUMBERS = st.one_of(
    st.floats(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([0, -0.0, 1, 50, 50.0, 1e-300, 31_557_600, 31_557_601, 10**9, 10**9 + 1]),
)
ANY = st.one_of(NUMBERS, st.text(max_size=70), st.booleans(), st.none(), st.lists(NUMBERS))
GOOD_ROW = st.fixed_dictionaries(
    {
        "ret_mean": st.floats(-1, 1),
        "ret_std": st.floats(0, 1),
        "n": st.integers(1, 10**9),
    },
    optional={
        "symbol": st.none() | st.text(max_size=64),
        "ts": st.none() | st.text(max_size=40),
        "span_s": st.none() | st.floats(1e-6, 31_557_600),
    },
)
NAMES = ("ret_mean", "ret_std", "n", "symbol", "ts", "span_s", "features")
ODD_ROW = st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), ANY, max_size=8)
FEATURES = st.dictionaries(st.sampled_from([*SCALE_NAMES, "x"]), NUMBERS | st.none(), max_size=4)
BODY = st.fixed_dictionaries(
    {"rows": st.lists(GOOD_ROW | ODD_ROW, max_size=5) | ANY},
    optional={"horizon_s": ANY, "threshold": ANY, "other": ANY},
)


def by_pydantic(body: bytes) -> PredictRequest | None:
    try:
        return PredictRequest.model_validate_json(body)
    except ValidationError:
        return None


def fields(row: Any) -> list[Any]:
    return [getattr(row, name) or None for name in NAMES]


@settings(max_examples=1_500, deadline=None)
@given(BODY)
@example({"rows": [{"ret_mean": 0, "ret_std": 0, "n": 1}], "horizon_s": 1})
@example({"rows": [{"ret_mean": 0, "ret_std": -0.0, "n": 50.0}]})
@example({"rows": [{"ret_mean": 1e308, "ret_std": 5e-324, "n": 1, "span_s": None}]})
def test_both_readers_agree(body: dict[str, Any]) -> None:
    """A body accepted by one reader is accepted by the other, with identical values."""
    text = json.dumps(body).encode()
    fast, slow = module._read_fast(text), by_pydantic(text)
    if fast is None and slow is None:
        return
    if fast is None:
        # Only an escape or a 50.0 for n may leave a valid body to the exact reader.
        odd = b"\\" in text or any(isinstance(row["n"], float) for row in body["rows"])
        assert odd
        return
    assert slow is not None
    assert [fields(a) for a in fast.rows] == [fields(b) for b in slow.rows]
    assert (fast.horizon_s or None, fast.threshold or None) == (slow.horizon_s, slow.threshold)


@settings(max_examples=300, deadline=None)
@given(st.lists(GOOD_ROW | ODD_ROW, min_size=1, max_size=6))
def test_lenient_keeps_what_strict_would_take(rows: list[dict[str, Any]]) -> None:
    """A lenient reader keeps exactly the rows that are valid alone, at their positions."""
    body = json.dumps({"rows": rows}).encode()
    parsed = read_request(body, 100, lenient=True)
    alone = [i for i, row in enumerate(rows) if passes(json.dumps({"rows": [row]}).encode())]
    assert list(parsed.positions) == alone
    assert len(parsed.matrix) == len(alone)
    invalid = {int(error["pointer"].split("/")[2]) for error in parsed.errors}
    assert invalid == set(range(len(rows))) - set(alone)


def passes(body: bytes) -> bool:
    try:
        read_request(body, 100, lenient=False)
    except (ProblemError, ValidationError):
        return False
    return True


@settings(max_examples=300, deadline=None)
@given(
    st.lists(GOOD_ROW, min_size=1, max_size=3),
    st.data(),
)
def test_no_name_comes_twice(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    """A duplicate name in any object is found, whatever the strings contain."""
    where = data.draw(st.integers(0, len(rows) - 1))
    name = data.draw(st.sampled_from(sorted(rows[where])))
    text = json.dumps(rows, ensure_ascii=data.draw(st.booleans()))
    plain = f'{{"rows": {text}}}'.encode()
    doubled_row = json.dumps(rows[where])[:-1] + f', "{name}": {json.dumps(rows[where][name])}}}'
    parts = [json.dumps(row) for row in rows]
    parts[where] = doubled_row
    doubled = f'{{"rows": [{",".join(parts)}]}}'.encode()
    read_request(plain, 100, lenient=False)
    for lenient in (False, True):
        with pytest.raises(ProblemError, match="occurs twice") as caught:
            read_request(doubled, 100, lenient=lenient)
        assert caught.value.type.status == 400


@settings(max_examples=200, deadline=None)
@given(FEATURES)
def test_maps_are_whole_or_refused(features: dict[str, Any]) -> None:
    """An incomplete or unknown feature map is refused."""
    row = {"ret_mean": 0.0, "ret_std": 1e-5, "n": 5, "features": features}
    body = json.dumps({"rows": [row]}).encode()
    with pytest.raises((ProblemError, ValidationError)):
        read_request(body, 1, lenient=False)


def test_a_published_map_is_read() -> None:
    """A map gives all columns, or none of them if one value is null."""
    whole = {name: float(i + 1) for i, name in enumerate(SCALE_NAMES)}
    part = {**whole, SCALE_NAMES[3]: None}
    rows = [{"ret_mean": 0, "ret_std": 1e-5, "n": 5, "features": x} for x in (whole, part)]
    parsed = read_request(json.dumps({"rows": rows}).encode(), 2, lenient=False)
    assert parsed.matrix[0, 4:].tolist() == list(whole.values())
    assert all(math.isnan(x) for x in parsed.matrix[1, 4:])
