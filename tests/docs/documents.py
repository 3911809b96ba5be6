"""The JSON blocks of the pages: what each one is, and its reader."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from jsonschema import Draft202012Validator

from tests.docs.blocks import Block, blocks
from tests.docs.shell import commands
from tests.unit.scoring.forecasts import evaluate
from tests.unit.store.past import made
from volsvc.domain import (
    NS,
    FeatureRow,
    InvalidTickError,
    IssuedForecast,
    PointForecast,
    Quality,
    Snapshot,
    Tick,
    format_time,
    parse_time,
)
from volsvc.domain.feature_names import SCALE_NAMES
from volsvc.domain.minute_bars import BarSeries, PastBars
from volsvc.features.digest_chain import WINDOW_NS, ClosedWindow
from volsvc.store.minutes_record import decode_minutes, encode_minutes
from volsvc.transport.bars_record import decode_bars, encode_bars
from volsvc.transport.bus import OutRecord, Record
from volsvc.transport.codec import (
    PublishedState,
    decode_state,
    decode_tick,
    encode_features,
    encode_outcome,
    encode_tick,
)
from volsvc.transport.features_record import STATE_HEADER, decode_snapshot
from volsvc.web.openapi import routes as openapi

DOCUMENT = openapi.document()
# Values of which the encoders make records with the names of every field.
SYMBOL, TIME_NS = "BTC-USD", 1_767_571_200 * NS
NUMBERS = (1e-4, 5e-5, 2e-4, 3e-4, 0.1)
ISSUED = IssuedForecast(SYMBOL, "ml", "1", TIME_NS // WINDOW_NS, 1, *NUMBERS)
FORECAST = PointForecast(
    FeatureRow(SYMBOL, TIME_NS, 1.0, 0.0, 0.0, 0, 0.0),
    (0.0, 0.0, 0.0, 0.0, *[math.nan] * len(SCALE_NAMES)),
    (60.0,),
    (NUMBERS,),
    60.0,
    "ml",
    "1",
    Quality(0, 0, 0, 1.0, "ok"),
    None,
)
STATE = PublishedState(0, 0, None, b"")
(BARS,) = encode_bars(
    PastBars(SYMBOL, "file", BarSeries(np.array([1]), np.ones((1, 5)))),
    (),
)
(MINUTES,) = encode_minutes([made(range(1))])
FEATURES = encode_features(FORECAST, STATE, format_time(TIME_NS), "")
OUTCOME = encode_outcome(evaluate(ISSUED, 1e-8))


class Kind(NamedTuple):
    """A kind of document: the names at its top, those that it must have, and its reader."""

    name: str
    known: frozenset[str]
    required: frozenset[str]
    read: Callable[[str], None]

    def claims(self, names: set[str]) -> bool:
        """Return whether a document with these names at its top is of this kind."""
        return self.required <= names <= self.known

    def differences(self, names: set[str]) -> str:
        """Return the names that are missing or too many."""
        lacks, more = sorted(self.required - names), sorted(names - self.known)
        return f"{self.name} (lacks {lacks}, does not have {more})"


def read_schema(name: str, text: str) -> None:
    """Read a request or an answer; raises AssertionError if its schema does not allow it."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    found = Draft202012Validator(schema).iter_errors(json.loads(text))
    errors = [f"{error.json_path}: {error.message}" for error in found]
    assert errors == [], f"{name}: {errors}"


def read_tick(text: str) -> None:
    """Read a record of `ticks.raw` as the consumer does, and write it as the producer does."""
    tick = decode_tick(record_of(text))
    assert_shows(text, encode_tick(tick))


def read_bars(text: str) -> None:
    """Read a record of bars as the consumer does, and write it as the producer does."""
    (written,) = encode_bars(decode_bars(record_of(text)), ())
    assert_shows(text, written)


def read_minutes(text: str) -> None:
    """Read a record of minutes as instances do, and write it as the consumer does.

    Of the fields of a row it may show a part.
    """
    (written,) = encode_minutes([decode_minutes([record_of(text)], _refuse)])
    rows = zip(json.loads(text)["rows"], json.loads(written.value or b"")["rows"], strict=True)
    part = [{name: row[name] for name in known} for known, row in rows]
    assert_shows(text, written, rows=part)


def _refuse(record: Record, error: InvalidTickError) -> None:
    raise error


def read_features(text: str) -> None:
    """Read a record of `ticks.features` as other processes do, and write it as the consumer does.

    Of the map of features it may show a part.
    """
    document = json.loads(text)
    assert decode_state(record_of(text, (STATE_HEADER, b""))) is not None
    snapshot, processed_ns = decode_snapshot(record_of(text))
    assert snapshot.features.keys() <= {*SCALE_NAMES}, set(snapshot.features) - {*SCALE_NAMES}
    digest = document["digest"]
    minute = digest and parse_time(digest["window"]) // WINDOW_NS
    closed = digest and ClosedWindow(minute, digest["head"]).fields()
    state = STATE._replace(digest=closed)
    written = encode_features(forecast_of(snapshot), state, format_time(processed_ns), "")
    assert_shows(text, written, features=document["features"])


def forecast_of(snapshot: Snapshot) -> PointForecast:
    """Return the forecast behind a snapshot of which the score is that of one of its horizons."""
    predictions = snapshot.predictions
    horizons = [each.horizon_s for each in predictions if each.score == snapshot.score]
    assert horizons, f"score: {snapshot.score} is that of no horizon"
    return PointForecast(
        snapshot.row,
        FORECAST.inputs,
        tuple(each.horizon_s for each in predictions),
        [(each.sigma, each.lo, each.hi, each.threshold, each.score) for each in predictions],
        horizons[0],
        snapshot.variant,
        snapshot.version,
        snapshot.quality,
        snapshot.prediction_id,
    )


def read_outcome(text: str) -> None:
    """Read a record of `ticks.outcomes`, and evaluate its forecast again."""
    document = json.loads(text)
    issued = IssuedForecast(
        symbol=document["symbol"],
        variant=document["model_variant"],
        version=document["version"],
        minute=parse_time(document["issued_at"]) // WINDOW_NS - 1,
        horizon_minutes=round(document["horizon_s"] / 60),
        **{name: document[name] for name in ("sigma", "lo", "hi", "threshold", "score")},
    )
    outcome = evaluate(issued, document["realised"] ** 2)
    assert_shows(text, encode_outcome(outcome))


def record_of(text: str, *headers: tuple[str, bytes]) -> Record:
    """Return a record of a topic with the symbol as its key."""
    return Record("", 0, 0, json.loads(text)["symbol"].encode(), text.encode(), headers, 0)


def assert_shows(text: str, record: OutRecord, **changed: Any) -> None:
    """Assert that a text shows the value of a record of ours, but for some fields."""
    different = list(differences(shown(text), {**json.loads(record.value or b""), **changed}))
    assert different == [], different


def shown(text: str) -> Any:
    """Return a document with its numbers as they are written."""
    return json.loads(text, parse_float=Decimal)


def differences(part: Any, real: Any, place: str = "#") -> Iterator[str]:
    """Yield the places in which a shown document is not the real one, its numbers rounded."""
    if isinstance(part, dict) and isinstance(real, dict) and part.keys() == real.keys():
        for name in part:
            yield from differences(part[name], real[name], f"{place}/{name}")
    elif isinstance(part, list) and isinstance(real, list) and len(part) == len(real):
        for index, pair in enumerate(zip(part, real, strict=True)):
            yield from differences(*pair, f"{place}/{index}")
    elif isinstance(part, Decimal) and isinstance(real, float):
        if round(Decimal(real), -int(part.as_tuple().exponent)) != part:
            yield f"{place}: shows {part}, is {real}"
    elif part != real or type(part) is not type(real):
        yield f"{place}: shows {part!r}, is {real!r}"


def kinds() -> Iterator[Kind]:
    """Yield every kind: the schemas of the HTTP interface, and the records of the topics."""
    for name, schema in DOCUMENT["components"]["schemas"].items():
        known, required = frozenset(schema["properties"]), frozenset(schema["required"])
        yield Kind(name, known, required, partial(read_schema, name))
    records: list[tuple[str, OutRecord, Callable[[str], None]]] = [
        ("a tick", encode_tick(Tick(SYMBOL, TIME_NS, 1.0)), read_tick),
        ("a record of bars", BARS, read_bars),
        ("a record of minutes", MINUTES, read_minutes),
        ("a features record", FEATURES, read_features),
        ("an outcome", OUTCOME, read_outcome),
    ]
    for name, record, read in records:
        names = frozenset(json.loads(record.value or b""))
        yield Kind(name, names, names, read)


KINDS = tuple(kinds())


def kind_of(text: str) -> Kind:
    """Return the kind of a document; raises AssertionError unless it is exactly one."""
    document = json.loads(text)
    assert isinstance(document, dict), f"not an object, so of no known kind: {text[:80]}"
    names = set(document)
    found = [kind for kind in KINDS if kind.claims(names)]
    nearest = max(KINDS, key=lambda kind: len(kind.known & names) / len(kind.known | names))
    assert found, (
        f"of no known kind; the nearest is {nearest.differences(names)}; "
        f"tests/docs/documents.py has all kinds"
    )
    assert len(found) == 1, f"of more than one kind: {[kind.name for kind in found]}"
    return found[0]


def request_before(block: Block) -> dict[str, Any]:
    """Return the body of the POST in the block before this one; raises AssertionError without."""
    *_, before = (other for other in blocks(block.path) if other.line < block.line)
    (command,) = commands(before.text)
    words = shlex.split(command)
    assert "-d" in words, f"{before.place} posts nothing, so {block.place} answers nothing"
    body: dict[str, Any] = json.loads(words[words.index("-d") + 1])
    return body
