"""Bounds: the requests in flight, and the heads that the fast path keeps."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.web.test_fast_path import request, talking
from volsvc.web.admission import LONGEST_RETRY_S, Gate
from volsvc.web.problems import ProblemError
from volsvc.web.server.fast_path import MOST_HEADS

# What a connection does: its request arrives, is about to be answered, or ends.
STEPS = st.lists(
    st.tuples(st.sampled_from(("enter", "check", "leave")), st.integers(0, 4)), min_size=50
)


def passes(gate: Gate, connection: int) -> bool:
    try:
        gate.check(connection)
    except ProblemError as error:
        refusal = error
    else:
        return True
    assert 1 <= int(refusal.headers["Retry-After"]) <= LONGEST_RETRY_S
    return False


@given(st.integers(1, 4), STEPS)
def test_requests_in_flight_against_a_model(most: int, steps: list[tuple[str, int]]) -> None:
    """A request passes if there was room when it came or is now; none counts twice or for ever."""
    gate, in_flight = Gate(most), dict[int, bool]()
    for step, connection in steps:
        room = sum(in_flight.values()) < most
        assert gate.full is not room
        if step == "enter":
            gate.enter(connection)
            in_flight.setdefault(connection, room)
        elif step == "leave":
            gate.leave(connection)
            in_flight.pop(connection, None)
        elif connection in in_flight:
            in_flight[connection] |= room
            assert passes(gate, connection) is in_flight[connection]
        assert sum(in_flight.values()) <= most
        assert len(gate) == len(in_flight)
    for connection in range(5):
        gate.leave(connection)
    assert (len(gate), gate.full) == (0, False)


async def test_the_heads_that_are_kept_are_bounded(
    fast: Counter[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of too many heads the first is forgotten: its next request goes through the parser."""
    monkeypatch.chdir(tmp_path)
    async with talking() as (client, _):
        for index in range(MOST_HEADS + 1):
            await client.exchange(request("GET", f"/latest/NO-{index}"))
        assert not fast
        await client.exchange(request("GET", f"/latest/NO-{MOST_HEADS}"))
        await client.exchange(request("GET", "/latest/NO-1"))
        assert fast["/latest/{symbol}"] == 2
        await client.exchange(request("GET", "/latest/NO-0"))
        assert fast["/latest/{symbol}"] == 2
        await client.exchange(request("GET", "/latest/NO-0"))
        assert fast["/latest/{symbol}"] == 3
