"""Recordings applied in parts, compared with ticks applied one by one."""

from __future__ import annotations

import struct
from collections import Counter
from hashlib import blake2b

from hypothesis import given
from hypothesis import strategies as st

from tests.applied import apply_one
from volsvc.config.settings import FeatureSettings
from volsvc.domain import NS, FeatureRow, InvalidTickError, Tick
from volsvc.domain.tick_columns import columns_of_ticks
from volsvc.features import SymbolTable, apply_recording
from volsvc.features.kernels.apply import NONE
from volsvc.features.kernels.tick_check import NO_IDENTITY
from volsvc.features.tick_batch import identities

START_NS = 1_767_571_200 * NS
PRICES = st.floats(1e-3, 1e6)
TICKS = st.builds(
    Tick,
    symbol=st.sampled_from("ABCDEF"),
    time_ns=st.integers(0, 40).map(lambda second: START_NS + second * NS),
    price=PRICES,
    best_bid=st.none() | PRICES,
    best_ask=st.none() | PRICES,
    size=st.none() | st.floats(0, 9),
    side=st.sampled_from([None, "buy", "sell"]),
    trade_id=st.none() | st.integers(1, 9),
    sequence=st.none() | st.integers(0, 9),
    source=st.sampled_from(["", "coinbase", "kraken"]),
)


@given(st.lists(TICKS))
def test_columns_give_the_ticks_back(ticks: list[Tick]) -> None:
    """Columns lose nothing."""
    assert list(columns_of_ticks(ticks).ticks()) == ticks


def identity_of(tick: Tick) -> int:
    """Return the identity of a tick as states of earlier versions have it."""
    if tick.trade_id is not None:
        return tick.trade_id
    if tick.sequence is not None:
        content = struct.pack("<2q", tick.time_ns, tick.sequence)
    else:
        known = (tick.price, tick.best_bid, tick.best_ask, tick.size)
        numbers = [float("nan") if number is None else number for number in known]
        side = (None, "buy", "sell").index(tick.side)
        content = struct.pack("<q4db", tick.time_ns, *numbers, side)
    digest = blake2b(content, digest_size=8).digest()
    return NO_IDENTITY - 1 - (int.from_bytes(digest, "little") & (2**63 - 4))


@given(st.lists(TICKS))
def test_identities(ticks: list[Tick]) -> None:
    """Ticks are told apart by the same numbers as ever, which states hold."""
    assert identities(columns_of_ticks(ticks)).tolist() == list(map(identity_of, ticks))


def one_by_one(table: SymbolTable, ticks: list[Tick], statuses: Counter[str]) -> list[FeatureRow]:
    rows = []
    for tick in ticks:
        try:
            found = apply_one(table, tick)
        except InvalidTickError as error:
            statuses[error.reason] += 1
            continue
        statuses[found.status] += 1
        rows += found.rows
    return rows


@given(
    st.lists(TICKS, max_size=60),
    st.integers(1, 20),
    st.integers(1, 6),
    st.sampled_from([1.0, 5.0, 100.0]),
    st.sampled_from([(), ("A", "B", "C")]),
)
def test_parts_are_applied_as_ticks_one_by_one(
    ticks: list[Tick], size: int, most: int, ttl_s: float, symbols: tuple[str, ...]
) -> None:
    """So they are, too, where symbols give up their rows to others, or find no room."""
    options = FeatureSettings(max_symbols=most, symbol_ttl_s=ttl_s, symbols=symbols)
    gone: tuple[list[str], list[str]] = ([], [])
    tables = [SymbolTable(options, evicted=symbols.append) for symbols in gone]
    expected, statuses = Counter[str](), Counter[str]()
    rows = one_by_one(tables[0], ticks, expected)
    parts = [columns_of_ticks(ticks[at : at + size]) for at in range(0, len(ticks), size)]
    found = []
    for applied in apply_recording(tables[1], parts, statuses, rows=True):
        for result, after in zip(applied.results, applied.rows, strict=True):
            symbol = tables[1].symbol(int(result.symbol))
            found += [FeatureRow(symbol, *row) for row in after[result.applied != NONE].tolist()]
    counted = {name: count for name, count in statuses.items() if count}
    assert {**counted, "bad_print": 0, "gap": 0} == {**expected, "bad_print": 0, "gap": 0}
    assert found == rows
    assert gone[0] == gone[1]
    assert [state.symbol for state in tables[0]] == [state.symbol for state in tables[1]]
