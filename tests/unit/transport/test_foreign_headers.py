"""Headers and versions that other programs may write: odd bytes and quotes are no obstacle."""

from __future__ import annotations

import json

import pytest

from volsvc.domain import InvalidTickError
from volsvc.transport import Record
from volsvc.transport.codec import decode_tick
from volsvc.transport.features_record import (
    OFFSET_HEADER,
    TICKS_HEADER,
    WRITER_HEADER,
    RecordHeader,
    read_header,
)


def test_a_record_of_an_earlier_version_counts_in_every_log() -> None:
    """Without a name of its ticks a record is taken for one of ours; another name is not."""
    header = RecordHeader("A", 0, 0, 3, "other#1")
    assert header.counts_in("ticks.raw/6")
    assert header._replace(ticks="ticks.raw/6").counts_in("ticks.raw/6")
    assert not header._replace(ticks="else.raw/6").counts_in("ticks.raw/6")


def test_bytes_that_are_no_text_are_replaced() -> None:
    """Key, writer and log are read even if they are not UTF-8."""
    headers = ((OFFSET_HEADER, b"3"), (WRITER_HEADER, b"w\xff"), (TICKS_HEADER, b"t\xff"))
    found = read_header(Record("ticks.features", 1, 40, b"A\xff", b"{}", headers))
    assert found == RecordHeader("A\ufffd", 1, 40, 3, "w\ufffd", "t\ufffd")


def test_only_the_shown_part_of_a_version_decides_its_quotes() -> None:
    """A quote after the eightieth character changes nothing in the error's text."""
    value = json.dumps({"symbol": "A", "price": 1, "v": "x" * 80 + "'"}).encode()
    with pytest.raises(InvalidTickError) as caught:
        decode_tick(Record("ticks.raw", 0, 0, b"A", value))
    assert str(caught.value) == "field 'v': '" + "x" * 79
