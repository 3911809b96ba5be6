"""Records of `ticks.minutes`: a store keeps what it would of its own."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tests.unit.store.past import START, SYMBOL, made
from volsvc.domain import InvalidTickError
from volsvc.store import AFTER_GAP, PARTIAL, Minutes
from volsvc.store.columns import rows_of
from volsvc.store.history import history
from volsvc.store.minute_rows import round_numbers
from volsvc.store.minutes_record import MOST_MINUTES, decode_minutes, encode_minutes
from volsvc.transport import OutRecord, Record

LAST = 2**31 - 1


def read(record: OutRecord) -> Minutes:
    """Return the minutes of a record as another process reads them."""
    read = Record("ticks.minutes", 0, 0, record.key, record.value, record.headers)
    return decode_minutes([read], not_refused)


def not_refused(record: Record, error: InvalidTickError) -> None:
    raise error


def kept(minutes: Minutes) -> Any:
    """Return rows as a store keeps them."""
    rows = minutes.rows.copy()
    round_numbers(rows)
    return rows


@pytest.mark.parametrize("seed", range(20))
def test_rows_are_the_same_to_the_bit(seed: int) -> None:
    """Whatever the numbers, a store keeps the row of the record as it keeps that of the minute."""
    given = made(range(1_000), seed)
    scale = np.random.default_rng(seed).uniform(-12, 2, 1_000)
    for name in ("variance", "volume", "ret_std", "ret_mean"):
        given.rows[name] = 10**scale * (given.rows[name] + 1e-3)
    given.rows["forecasts"][::7, 1:, 1:] = np.nan
    given.rows["flags"] = np.arange(1_000) % (AFTER_GAP + PARTIAL + 1)
    parts = [read(record) for record in encode_minutes([given])]
    assert max(len(part.rows) for part in parts) == MOST_MINUTES
    assert kept(given).tobytes() == b"".join(kept(part).tobytes() for part in parts)
    assert {tuple(part.models) for part in parts} == {given.models}


def test_each_symbol_has_its_records() -> None:
    """Minutes of several symbols and models become records with the key of the symbol."""
    parts = [made(range(count), symbol=name) for name, count in (("A", 3), ("B", 2))]
    rows = np.concatenate([part.rows for part in parts])
    rows["model"][2:] = 1
    rows["shadow_sigmas"][3:] = np.nan
    mixed = Minutes(["A"] * 3 + ["B"] * 2, rows, parts[0].models)
    records = list(encode_minutes([mixed]))
    assert [record.key for record in records] == [b"A", b"B"]
    answers = [list(rows_of(history(read(record), LAST))) for record in records]
    round_numbers(rows)
    whole = [Minutes([], rows[part], mixed.models) for part in (slice(3), slice(3, 5))]
    assert answers == [list(rows_of(history(part, LAST))) for part in whole]


def test_minutes_of_many_slices_are_records_of_symbols() -> None:
    """Rows of a symbol are in one record, also across a change of the model."""
    slices = [made(range(first, first + 2)) for first in range(0, 12, 2)]
    slices[3:] = [part._replace(models=(("ml", "4"), ("baseline", "1"))) for part in slices[3:]]
    (record,) = encode_minutes(slices)
    found = read(record)
    assert found.rows["minute"].tolist() == [START + minute for minute in range(12)]
    assert [found.models[model] for model in found.rows["model"].tolist()] == [
        ("ml", "3") if minute < 6 else ("ml", "4") for minute in range(12)
    ]


GOOD = next(encode_minutes([made(range(2))])).value
VALUE = json.loads(GOOD or b"")


def changed(**fields: Any) -> bytes:
    first, second = VALUE["rows"]
    return json.dumps({**VALUE, "rows": [{**first, **fields}, second]}).encode()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"{", "truncated"),
        (b"[" * 100_000, "are not valid"),
        (json.dumps({**VALUE, "v": 2}).encode(), "v"),
        (json.dumps({**VALUE, "symbol": "ETH-USD"}).encode(), "is not 'ETH-USD'"),
        (json.dumps({**VALUE, "rows": VALUE["rows"] * 121}).encode(), "length"),
        (changed(close=0.0), "close"),
        (changed(high=None), "high"),
        (changed(ticks=-1), "ticks"),
        (changed(realised=-1e-9), "realised"),
        (changed(sigma_300s="much"), "sigma_300s"),
        (changed(time="2026-01-05T00:00:30.000Z"), "not the end of a minute"),
        (changed(time="1970-01-01T00:00:00.000Z"), "outside"),
        (changed(time="yesterday"), "yesterday"),
    ],
)
def test_what_is_not_valid(value: bytes, words: str) -> None:
    """A record with another's key, or with numbers that no minute has, is named and left out."""
    errors = list[str]()
    records = [Record("t", 0, 0, SYMBOL.encode(), one) for one in (value, GOOD, None)]
    found = decode_minutes(records, lambda record, error: errors.append(str(error)))
    assert found.rows["minute"].tolist() == [START, START + 1]
    assert len(errors) == 2
    assert words in errors[0]


def test_fields_of_later_versions_are_passed_over() -> None:
    """A reader takes the fields that it knows; what may be missing is unknown."""
    value = changed(skew=1.0, shadow_variant="", sigma_60s=None)
    found = decode_minutes([Record("t", 0, 0, SYMBOL.encode(), value)], not_refused)
    assert found.rows["minute"].tolist() == [START, START + 1]
    assert np.isnan(found.rows["forecasts"][0, 0, 0])
    assert found.rows["shadow"].tolist() == [0, 1]
