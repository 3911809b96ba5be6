"""Formats of rows: which one a caller gets, and what it holds."""

from __future__ import annotations

import io

import numpy as np
import pytest
from aiohttp.test_utils import make_mocked_request

from volsvc.web import tables
from volsvc.web.problems import ProblemError
from volsvc.web.tables import CSV, JSON, MEDIA_TYPES, NDJSON, PARQUET, accepted_format, encode_table

COLUMNS = {
    "time": np.array(["a", "b"]),
    "x": np.array([0.5, np.nan]),
    "n": np.array([1, 2]),
    "flag": np.array([True, None], object),
}


def accepted(*headers: str) -> str:
    given = [("Accept", header) for header in headers]
    return accepted_format(make_mocked_request("GET", "/x", dict(given[:1])))


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("*/*", JSON),
        ("", JSON),
        ("text/csv", CSV),
        ("TEXT/CSV; charset=utf-8", CSV),
        ("text/*", CSV),
        ("application/*", JSON),
        ("application/*, text/csv;q=0.9", JSON),
        ("application/json;q=0.1, application/*;q=0.2", NDJSON),
        ("application/json;q=0, */*", NDJSON),
        ("text/html, application/xhtml+xml, */*;q=0.8", JSON),
        ("text/csv;q=0.5, application/vnd.apache.parquet", PARQUET),
        ("application/x-ndjson; q=0.001", NDJSON),
        ("text/html, application/json;q=wrong, text/csv;q=0.1", CSV),
    ],
)
def test_a_caller_gets_what_it_likes_best(accept: str, media: str) -> None:
    """The most specific range of a header decides on a format, and the first one on a draw."""
    assert accepted(accept) == media


def test_without_a_wish_it_is_json() -> None:
    """Without the header any format is accepted."""
    assert accepted_format(make_mocked_request("GET", "/x")) == JSON


@pytest.mark.parametrize("accept", ["text/html", "*/*;q=0", "text/csv;q=0", "json", ";,;"])
def test_the_offer_is_named(accept: str) -> None:
    """A caller that accepts nothing of it gets 406 with everything that is offered."""
    with pytest.raises(ProblemError) as caught:
        accepted(accept)
    assert caught.value.type.status == 406
    assert all(media in caught.value.detail for media in MEDIA_TYPES)


def test_parquet_needs_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra Parquet is not offered, and the refusal says why."""
    monkeypatch.setattr(tables, "find_spec", lambda name: None)
    assert accepted("*/*") == JSON
    with pytest.raises(ProblemError, match="needs the extra `parquet`"):
        accepted(PARQUET)


def test_each_format_has_the_rows() -> None:
    """A value that is missing is null, nothing, or NaN."""
    assert encode_table(JSON, COLUMNS, {"symbol": "A", "next": None}) == (
        b'{"symbol":"A","next":null,"rows":[{"time":"a","x":0.5,"n":1,"flag":true},'
        b'{"time":"b","x":null,"n":2,"flag":null}]}'
    )
    assert encode_table(NDJSON, COLUMNS, {}) == (
        b'{"time":"a","x":0.5,"n":1,"flag":true}\n{"time":"b","x":null,"n":2,"flag":null}\n'
    )
    assert encode_table(CSV, COLUMNS, {}) == b"time,x,n,flag\na,0.5,1,True\nb,,2,\n"
    from pyarrow import parquet

    table = parquet.read_table(io.BytesIO(encode_table(PARQUET, COLUMNS, {})))
    assert table.column_names == list(COLUMNS)
    assert [str(kind) for kind in table.schema.types] == ["string", "double", "int64", "bool"]
    assert table.column("x").to_pylist()[0] == 0.5
    assert np.isnan(table.column("x").to_pylist()[1])


@pytest.mark.parametrize("media", MEDIA_TYPES)
def test_no_rows_are_an_answer(media: str) -> None:
    """A page without rows is one of its format."""
    body = encode_table(media, {name: column[:0] for name, column in COLUMNS.items()}, {})
    expected = {JSON: b'{"rows":[]}', NDJSON: b"", CSV: b"time,x,n,flag\n"}
    if media == PARQUET:
        from pyarrow import parquet

        assert parquet.read_table(io.BytesIO(body)).column_names == list(COLUMNS)
    else:
        assert body == expected[media]
