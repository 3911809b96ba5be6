"""The JSON blocks of the pages: what each one is, and its reader."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple

from jsonschema import Draft202012Validator

from tests.docs.blocks import Block, blocks
from tests.docs.shell import commands
from volsvc.domain import (
    NS,
    FeatureRow,
    IssuedForecast,
    Prediction,
    Quality,
    Snapshot,
    Tick,
    parse_time,
)
from volsvc.features.digest_chain import WINDOW_NS, ClosedWindow
from volsvc.scoring.scores import evaluate
from volsvc.transport.bus import OutRecord, Record
from volsvc.transport.codec import (
    decode_state,
    decode_tick,
    encode_features,
    encode_outcome,
    encode_tick,
)
from volsvc.transport.features_record import decode_snapshot
from volsvc.web.openapi import routes as openapi

DOCUMENT = openapi.document()
# Values of which the encoders make records with the names of every field.
SYMBOL, TIME_NS = "BTC-USD", 1_767_571_200 * NS
ISSUED = IssuedForecast("ml", "1", TIME_NS // WINDOW_NS, 1, 1e-4, 5e-5, 2e-4, 3e-4, 0.1)
SNAPSHOT = Snapshot(
    FeatureRow(SYMBOL, TIME_NS, 1.0, 0.0, 0.0, 0, 0.0),
    0.1,
    "ml",
    "1",
    (Prediction(60.0, 1e-4, 5e-5, 2e-4, 3e-4, 0.1),),
    Quality(0, 0, 0, 1.0, "ok"),
    {},
)
STATE = {"digest": {"closed": None}, "offset": 0, "partition": 0}


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


def read_features(text: str) -> None:
    """Read a record of `ticks.features` as other processes do, and write it as the consumer does.

    What is inside `state` is not a public interface.
    """
    document = json.loads(text)
    decode_state(record_of(text))
    snapshot, processed_ns = decode_snapshot(record_of(text))
    snapshot = replace(snapshot, prediction_id=document["prediction_id"])
    digest = document["digest"]
    minute = digest and parse_time(digest["window"]) // WINDOW_NS
    state = {**STATE, "digest": {"closed": digest and ClosedWindow(minute, digest["head"])}}
    written = encode_features(snapshot, state, processed_ns, "")
    assert_shows(text, written, state=document["state"])


def read_outcome(text: str) -> None:
    """Read a record of `ticks.outcomes`, and evaluate its forecast again."""
    document = json.loads(text)
    issued = IssuedForecast(
        variant=document["model_variant"],
        version=document["version"],
        minute=parse_time(document["issued_at"]) // WINDOW_NS - 1,
        horizon_minutes=round(document["horizon_s"] / 60),
        **{name: document[name] for name in ("sigma", "lo", "hi", "threshold", "score")},
    )
    outcome = evaluate(issued, document["realised"] ** 2)
    assert_shows(text, encode_outcome(document["symbol"], outcome))


def record_of(text: str) -> Record:
    """Return a record of a topic with the symbol as its key."""
    return Record("", 0, 0, json.loads(text)["symbol"].encode(), text.encode(), (), 0)


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
        ("a features record", encode_features(SNAPSHOT, STATE, TIME_NS, ""), read_features),
        ("an outcome", encode_outcome(SYMBOL, evaluate(ISSUED, 1e-8)), read_outcome),
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
