"""All that is kept of one symbol, and how a tick changes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from volsvc.config import FeatureSettings
from volsvc.domain import NS, FeatureRow, Quality, Tick, Verdict
from volsvc.features.history import History
from volsvc.features.moments import ReturnWindow
from volsvc.features.order import Order, OrderCheck
from volsvc.features.variance import EwmaVariance

STATE_VERSION = 1
HALF_LIFE_S = 600.0
"""Half-life of the variance that the baseline serves."""
LEVEL_HALF_LIFE_S = 86_400.0
"""Half-life of the symbol's level, which spikes are measured against."""
STEP_NS = NS
"""Features are published when a tick opens a new step of this event-time grid."""
WARM_S = 300.0
"""Event time behind the variance from which on it counts as warm."""


class StateError(ValueError):
    """A stored state of another version or of another window size."""


class SymbolState:
    """One symbol's window, variance, order checks and history."""

    __slots__ = (
        "_step",
        "_times",
        "_window",
        "history",
        "level",
        "offset",
        "order",
        "partition",
        "row",
        "symbol",
        "variance",
    )

    def __init__(self, symbol: str, settings: FeatureSettings) -> None:
        self.symbol = symbol
        self.order = OrderCheck(settings.late_tolerance_s)
        self.history = History(settings.history)
        self.variance = EwmaVariance(HALF_LIFE_S)
        self.level = EwmaVariance(LEVEL_HALF_LIFE_S)
        self.row: FeatureRow | None = None
        self.partition = 0
        self.offset = -1
        self._window = ReturnWindow(settings.window_size)
        self._times: list[int] = []
        self._step = -1

    def update(self, tick: Tick) -> Order:
        """Take in a tick; the feature row after it is `row`, unless it was late or a duplicate."""
        order = self.order.check(tick)
        if order is Order.NEW:
            price = tick.feature_price
            self._window.push(price)
            self._remember_time(tick.time_ns)
            self.variance.push(tick.time_ns, price)
            self.level.push(tick.time_ns, price)
            self.row = self._features(tick.time_ns, price)
            self.history.append(self.row)
        return order

    def take_due(self) -> bool:
        """Whether the newest row opened a step of the publishing grid; true once a step."""
        if self.row is None or self.row.time_ns // STEP_NS <= self._step:
            return False
        self._step = self.row.time_ns // STEP_NS
        return True

    def _remember_time(self, time_ns: int) -> None:
        # A list beside the window's prices: popping the front of 50 is a memmove of 400 bytes.
        self._times.append(time_ns)
        if len(self._times) > self._window.size:
            del self._times[0]

    def _features(self, time_ns: int, price: float) -> FeatureRow:
        window = self._window
        return FeatureRow(
            symbol=self.symbol,
            time_ns=time_ns,
            price=price,
            ret_mean=window.mean,
            ret_std=window.std,
            n=window.n,
            span_s=max(0, time_ns - self._times[0]) / NS,
            variance_rate=self.variance.rate,
            level_rate=self.level.rate,
        )

    def quality(self) -> Quality:
        """The counts of this symbol's feed, and what they mean for its forecasts."""
        fill = self._window.n / (self._window.size - 1)
        verdict: Verdict = "ok" if fill == 1 and self.variance.seconds >= WARM_S else "warming"
        return Quality(self.order.gaps, self.order.duplicates, self.order.late, fill, verdict)

    def dump(self) -> Mapping[str, Any]:
        """The state that a restart needs, as JSON can carry it without loss."""
        return {
            "v": STATE_VERSION,
            "window_size": self._window.size,
            "partition": self.partition,
            "offset": self.offset,
            "prices": self._window.prices().tolist(),
            "times": self._times,
            "step": self._step,
            "variance": self.variance.dump(),
            "level": self.level.dump(),
            "order": self.order.dump(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `dump` gave; raises StateError when it does not fit.

        The history ring starts empty: it is a convenience, not a state that features rest on.
        """
        if state.get("v") != STATE_VERSION:
            raise StateError(f"state version {state.get('v')} is not {STATE_VERSION}")
        if state["window_size"] != self._window.size:
            raise StateError(f"window of {state['window_size']} is not {self._window.size}")
        self._window.restore(state["prices"])
        self._times = list(state["times"])
        self._step = state["step"]
        self.partition = state["partition"]
        self.offset = state["offset"]
        self.variance.restore(tuple(state["variance"]))
        self.level.restore(tuple(state["level"]))
        self.order.restore(state["order"])
        if self._times:
            self.row = self._features(self._times[-1], state["prices"][-1])
