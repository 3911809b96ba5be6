"""The check `ticks`: degraded while every tick that comes is refused."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from tests.unit.pipeline.logged import START_NS, record, tick
from volsvc.config.settings import FeatureSettings
from volsvc.domain import NS
from volsvc.features import SymbolTable
from volsvc.pipeline.latest_store import LatestStore
from volsvc.pipeline.refused_ticks import RefusedTicks
from volsvc.pipeline.tick_applier import TickApplier, TickSlice
from volsvc.telemetry.health import Check, Health
from volsvc.telemetry.metrics import Metrics
from volsvc.transport import Record

NOW_S = START_NS / NS
NO_OBJECT = b"1"
ERROR = "field 'value': is not a JSON object"


class Stream:
    """A stream of records, and the health that it leads to; each batch comes two seconds later."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, symbols: Sequence[str] = ()) -> None:
        self.health = Health()
        self.now_s = NOW_S
        self.offset = 0
        monkeypatch.setattr(time, "time", lambda: self.now_s)
        table = SymbolTable(FeatureSettings(future_tolerance_s=60, symbols=tuple(symbols)))
        self._applier = TickApplier(table, LatestStore(), Metrics())
        self._refused = RefusedTicks(self.health)

    def comes(self, ahead_s: float = 0.0, symbol: str = "A", raw: bytes | None = None) -> None:
        """Apply one record of a tick whose clock is so many seconds ahead."""
        content = raw or tick(self.now_s - NOW_S + ahead_s, symbol)
        one: Record = record(self.offset, content, timestamp_ms=round(self.now_s * 1_000))
        for tick_slice in self._applier.slices([one]):
            self._refused.note(tick_slice)
        self.offset += 1
        self.now_s += 2

    @property
    def check(self) -> Check | None:
        """The check."""
        return self.health.checks.get("ticks")


def test_a_clock_that_is_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a few seconds the check names number, begin and reason, until a tick is taken."""
    stream = Stream(monkeypatch)
    for _ in range(3):
        stream.comes(3_600)
    assert stream.check is None
    stream.comes(3_600)
    assert stream.check is not None
    assert stream.check.status == "degraded"
    since = time.strftime("%H:%M:%SZ", time.gmtime(NOW_S))
    assert stream.check.detail.startswith(
        f"4 ticks refused since {since}, none taken: field 'time'"
    )
    assert stream.check.detail.endswith("is after its publication")
    stream.comes(3_600)
    assert stream.check.detail.startswith("5 ticks")
    stream.comes()
    assert stream.check.status == "ok"
    for _ in range(3):
        stream.comes(3_600)
    assert stream.check.status == "ok"


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b'{"price": 0, "symbol": "A", "time": "2026-01-01T00:00:00Z"}', "field 'price'"),
        (b"nonsense", "is not JSON"),
        (b'{"type": "subscriptions", "channels": []}', "subscriptions"),
    ],
)
def test_records_that_are_no_ticks(raw: bytes, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever makes every record a dead letter is shown."""
    stream = Stream(monkeypatch)
    for _ in range(4):
        stream.comes(raw=raw)
    assert stream.check is not None
    assert (stream.check.status, text in stream.check.detail) == ("degraded", True)


def test_a_clock_that_was_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Late ticks alone are not taken either; duplicates have been."""
    stream = Stream(monkeypatch)
    stream.comes()
    same = b'{"price": 1, "symbol": "A", "time": %d, "trade_id": 7}' % (START_NS + 2 * NS)
    for _ in range(9):
        stream.comes(raw=same)
    assert stream.check is None
    for _ in range(4):
        stream.comes(-3_600)
    assert stream.check is not None
    assert "late_tolerance_s" in stream.check.detail


def test_symbols_that_were_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are a fault while no other tick comes at all, and later none."""
    stream = Stream(monkeypatch, ["A"])
    for _ in range(4):
        stream.comes(symbol="A/USD")
    assert stream.check is not None
    assert "is not in features.symbols" in stream.check.detail
    stream.comes()
    for _ in range(9):
        stream.comes(symbol="A/USD")
    assert stream.check.status == "ok"


def test_one_warning_for_each_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first refused tick of each reason is logged, and what is refused among others later."""
    stream = Stream(monkeypatch)
    with capture_logs() as logs:
        for _ in range(4):
            stream.comes()
            stream.comes(3_600)
            stream.comes(raw=NO_OBJECT)
    line = {"event": "ticks_refused", "log_level": "warning", "count": 1}
    future = "field 'time': 2026-01-05T01:00:02.000Z is after its publication"
    assert [one for one in logs if one["event"] != "dead_letter"] == [
        {**line, "reason": "future", "error": future},
        {**line, "reason": "json", "error": ERROR},
    ]
    assert stream.check is None


def test_a_warning_has_the_number_of_ticks() -> None:
    """Ticks that one slice refused for one reason are all counted."""
    refused = RefusedTicks(Health())
    with capture_logs() as logs:
        refused.note(TickSlice(rejected=Counter(json=3, late=1), faults={"json": "no JSON"}))
    line = {"event": "ticks_refused", "log_level": "warning", "reason": "json"}
    assert logs == [{**line, "count": 3, "error": "no JSON"}]


@pytest.mark.parametrize(
    ("after_s", "degraded"),
    [((5.0,), False), ((2.0, 4.9), False), ((2.0, 5.0), True), ((0.0, 0.0, 4.9), False)],
)
def test_the_least_that_counts(
    after_s: tuple[float, ...], degraded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three ticks in five seconds are enough; two are not, nor is any number in less time."""
    stream = Stream(monkeypatch)
    for seconds in (0.0, *after_s):
        assert stream.check is None
        stream.now_s = NOW_S + seconds
        stream.comes(3_600)
    assert (stream.check is not None) is degraded


def test_the_log_says_when_it_begins_and_when_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is one line for each change of the check, every time that it changes."""
    stream = Stream(monkeypatch)
    with capture_logs() as logs:
        for _ in range(2):
            for _ in range(5):
                stream.comes(raw=NO_OBJECT)
            for _ in range(2):
                stream.comes()
    begin = {"event": "no_tick_taken", "log_level": "warning", "refused": 4}
    begin["error"] = ERROR
    end = {"event": "ticks_taken_again", "log_level": "info"}
    changes = [one for one in logs if one["event"] not in ("dead_letter", "ticks_refused")]
    assert changes == [
        {**begin, "since": "00:00:00Z"},
        end,
        {**begin, "since": "00:00:14Z"},
        end,
    ]


def test_prices_that_are_all_far_from_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream of nothing but bad prints is a fault of its own."""
    stream = Stream(monkeypatch)
    stream.comes()
    stream.comes()
    for number in range(6):
        price = (number + 1) * 10.0 ** (4 if number % 2 else -4)
        stream.comes(raw=b'{"price": %f, "symbol": "A", "time": %d}' % (price, START_NS + 10 * NS))
    assert stream.check is not None
    assert "features.bad_print_sigmas" in stream.check.detail
