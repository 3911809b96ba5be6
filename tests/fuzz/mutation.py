"""Inputs close to valid ones: with changed bytes, or with unusual values in the JSON.

The readers under test are C extensions, which a coverage-guided fuzzer does not see into; what
finds faults there is nearness to the grammar, and many inputs.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence

_VALUE = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|true|false|null|\[\]|\{\}')
NASTY: Sequence[bytes] = (
    *(b"0 -0 -1 1e999 -1e999 NaN Infinity -Infinity 1e-400 5e-324 1.7976931348623157e308".split()),
    *(b"9007199254740993 18446744073709551616 -9223372036854775809 50.0 1e2 00 1. .5 +1".split()),
    *(b'"" "\\u0000" "\\ud800" "\\ud83d\\ude00" "\xff" "a\\u003ab" "1e400" "NaN" "0x10"'.split()),
    *(b"true false null [] {} [[]] [null] [{}]".split()),
    b"9" * 400,
    b"9" * 5_000,
    b"0." + b"1" * 500,
    b'"' + b"x" * 300 + b'"',
    b"[" * 300,
    b'{"a":' * 250,
    b'"2026-13-45T99:99:99Z"',
    b'"9999-12-31T23:59:59.999999999Z"',
    b'"0001-01-01T00:00:00+23:59"',
    b'"2026-01-05T14:00:00"',
)
_PIECES: Sequence[bytes] = (
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b'"',
    b"\\",
    b"\x00",
    b"\xef\xbb\xbf",
)

Change = Callable[[random.Random, bytes, Sequence[bytes]], bytes]


def _flip(rng: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + bytes((data[at] ^ 1 << rng.randrange(8),)) + data[at + 1 :]


def _cut(rng: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    start, end = sorted((rng.randrange(len(data)), rng.randrange(len(data))))
    return data[:start] + data[end:]


def _repeat(rng: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    start, end = sorted((rng.randrange(len(data)), rng.randrange(len(data))))
    return data[:end] + data[start:end] + data[end:]


def _insert(rng: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice(_PIECES) + data[at:]


def _value(rng: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    places = list(_VALUE.finditer(data))
    if not places:
        return _insert(rng, data, seeds)
    start, end = rng.choice(places).span()
    return data[:start] + rng.choice(NASTY) + data[end:]


def _splice(rng: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    other = rng.choice(seeds)
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other)) :]


CHANGES: Sequence[Change] = (_value, _value, _value, _flip, _cut, _repeat, _insert, _splice)


def inputs(seeds: Sequence[bytes], seed: int) -> Iterator[bytes]:
    """Yield endless inputs, the same for the same seed; the seed inputs come first."""
    rng = random.Random(seed)
    yield from seeds
    while True:
        data = rng.choice(seeds)
        for _ in range(rng.choice((1, 1, 2, 3, 5))):
            data = rng.choice(CHANGES)(rng, data, seeds)[:20_000] or b" "
        yield data
