"""The state of one symbol, updated tick by tick."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from msgspec.structs import astuple
from numpy.typing import NDArray

from volsvc.config.settings import FeatureSettings
from volsvc.domain import NS, FeatureRow, Quality, Tick, Verdict
from volsvc.domain.feature_names import SCALE_NAMES
from volsvc.features.calibration import VariantCalibrations
from volsvc.features.digest_chain import DigestChain
from volsvc.features.feature_window import FeatureWindow
from volsvc.features.forecast_history import ForecastHistory
from volsvc.features.history import History
from volsvc.features.minute_state import MinuteState
from volsvc.features.minutes import MinuteBuilder
from volsvc.features.print_filter import PRIOR_MINUTES, PRIOR_VARIANCE, PrintFilter
from volsvc.features.tick_check import TickStatus, TickValidator
from volsvc.features.tick_order import TickOrder
from volsvc.scoring.scores import WINDOW_DAYS, SymbolScores

STATE_VERSION = 3


class StateError(ValueError):
    """A stored state of another version or of another window size."""


class SymbolState:
    """Everything kept of one symbol: window, minutes, calibrations, scores and history."""

    __slots__ = (
        "_builder",
        "_step",
        "_step_ns",
        "_window",
        "calibrations",
        "digest",
        "forecast_history",
        "history",
        "minutes",
        "offset",
        "order",
        "partition",
        "prints",
        "row",
        "scores",
        "symbol",
        "validator",
        "waiting",
    )

    def __init__(
        self, symbol: str, settings: FeatureSettings, window_days: int = WINDOW_DAYS
    ) -> None:
        """Start without ticks; `window_days` is how long a matured forecast counts in `scores`."""
        self.symbol = symbol
        self.validator = TickValidator(settings.late_tolerance_s, settings.future_tolerance_s)
        self.history = History(settings.history)
        self.forecast_history = ForecastHistory(settings.history)
        self.minutes = MinuteState()
        self.calibrations = VariantCalibrations()
        self.scores = SymbolScores(symbol, window_days)
        self.digest = DigestChain()
        self.row: FeatureRow | None = None
        # Place in the log of the newest tick in the state.
        self.partition = 0
        self.offset = -1
        self._window = FeatureWindow(settings.window_size)
        self._builder = MinuteBuilder()
        # Ticks whose turn has come, and before that, with a tolerance, those that wait for it.
        self.waiting: deque[Tick] = deque()
        tolerance_ns = round(settings.late_tolerance_s * NS)
        self.order = TickOrder(tolerance_ns) if tolerance_ns else None
        self.prints = PrintFilter(settings.bad_print_sigmas)
        self._step = -1
        self._step_ns = round(settings.publish_every_s * NS)

    def add(self, tick: Tick, published_ns: int = 0) -> TickStatus:
        """Take a tick and return its status; `advance` applies it, if it is new.

        With a tolerance it waits until a tick of the symbol comes that is newer by that.
        `published_ns` is the time of its publication, 0 if that is not known.
        """
        status = self.validator.check(tick, published_ns)
        if status is TickStatus.NEW:
            if self.order is None:
                self.waiting.append(tick)
            else:
                assert self.validator.last_ns is not None, "a new tick has a time"
                self.waiting.extend(self.order.push(tick, self.validator.last_ns))
        return status

    def finish(self) -> None:
        """Give all ticks that wait their turn, at the end of a recording."""
        if self.order is not None:
            self.waiting.extend(self.order.drain())

    def advance(self) -> Tick | None:
        """Apply the next tick whose turn has come and return it, or None if there is none.

        `row` then holds the features after it. A tick that was added may give none, itself, or
        several, so call this until it returns None. A dump taken between two calls is the state
        after the first, from which the rest follows.
        """
        waiting, prints = self.waiting, self.prints
        while waiting:
            tick, last = waiting[0], self.row
            price = tick.feature_price
            if prints.held is not None and last is not None:
                if prints.confirms(price, last):
                    # The tick that confirms it has its turn afterwards, and is judged by itself.
                    held, prints.held = prints.held, None
                    self._apply(held, held.feature_price)
                    return held
                prints.drop()
            waiting.popleft()
            if (
                last is not None
                and abs(price - last.price) > prints.gate * last.price
                and prints.is_far(price, tick.time_ns, last, self._recent_variance(last))
            ):
                prints.held = tick
                continue
            self._apply(tick, price)
            return tick
        return None

    def _apply(self, tick: Tick, price: float) -> None:
        self._window.push(tick.time_ns, price)
        ended = self._builder.push(tick.time_ns, price, tick.size or 0.0)
        if ended is not None:
            bar, observed = ended
            self.minutes.close(bar, bar.variance, observed)
        self.row = self._window.row(self.symbol, tick.time_ns, price)
        self.history.append(self.row)

    def _recent_variance(self, last: FeatureRow) -> float:
        """Return the variance of a minute that the ticks so far make plausible."""
        multiscale = self.minutes.multiscale
        pending = self._builder.pending(last.time_ns)
        # The current minute counts as if it were over: a part of it is no reason to expect more.
        current = 0.0 if pending is None else pending[0].variance
        prior = PRIOR_VARIANCE if multiscale.elapsed < PRIOR_MINUTES else 0.0
        return max(current, multiscale.recent_variance(), prior)

    def first_row(self) -> FeatureRow | None:
        """Return `row` or, before it, a row without returns of the first tick that waits, if any.

        With it a state is published whose every tick still waits.
        """
        first = None if self.row is not None or self.order is None else self.order.first()
        if first is None:
            return self.row
        return FeatureRow(self.symbol, first.time_ns, first.feature_price, 0.0, 0.0, 0, 0.0)

    def scales(self) -> NDArray[np.float64]:
        """Return the multi-scale features at the newest tick, of shape (len(SCALE_NAMES),).

        They are NaN in the first minute.
        """
        pending = None if self.row is None else self._builder.pending(self.row.time_ns)
        if pending is None:
            return np.full(len(SCALE_NAMES), np.nan)
        bar, fraction = pending
        return self.minutes.multiscale.row(bar.minute, fraction, bar)

    def take_due(self) -> bool:
        """Return True once per step of the publishing grid, at its first tick."""
        if self.row is None or self.row.time_ns // self._step_ns <= self._step:
            return False
        self._step = self.row.time_ns // self._step_ns
        return True

    def quality(self) -> Quality:
        """Return the counts of this symbol's feed and the verdict on its forecasts."""
        fill, counts, prints = self._window.fill_ratio, self.validator, self.prints
        held = prints.held is not None
        unapplied = len(self.waiting) + len(self.order or ()) + held + prints.dropped
        verdict: Verdict = "ok" if fill == 1 and self.minutes.warm else "warming"
        return Quality(
            counts.gaps,
            counts.duplicates,
            counts.late,
            fill,
            verdict,
            future=counts.future,
            ticks=counts.accepted - unapplied,
            bad_prints=prints.dropped,
        )

    def dump(self) -> Mapping[str, Any]:
        """Return the state that changes with ticks, in a form that JSON holds without loss.

        A restart needs the state returned by `dump_learnt` as well.
        """
        return {
            "v": STATE_VERSION,
            "window_size": self._window.size,
            "partition": self.partition,
            "offset": self.offset,
            "prices": self._window.prices(),
            "times": self._window.times(),
            "step": self._step,
            "minutes": self._builder.dump(),
            **self.minutes.dump(),
            "order": self.validator.dump(),
            **self.prints.dump(),
            **self._dump_waiting(),
        }

    def _dump_waiting(self) -> Mapping[str, Any]:
        ordered = self.order.waiting() if self.order is not None else ()
        kinds = {"waiting": self.waiting, "tolerated": ordered}
        return {kind: [astuple(tick) for tick in ticks] for kind, ticks in kinds.items() if ticks}

    def dump_learnt(self) -> Mapping[str, Any]:
        """Return the state that changes with forecasts: calibrations, scores and digest."""
        # Separate from `dump`, which is taken at a tick: this moves on when the tick is forecast.
        return {
            "calibrations": self.calibrations.dump(),
            "scores": self.scores.dump(),
            "digest": self.digest.dump(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a state returned by `dump`, together with that of `dump_learnt` if present.

        The histories start empty, since no features depend on them. Raises StateError if the
        version or the window size differs.
        """
        if state.get("v") != STATE_VERSION:
            raise StateError(f"state version {state.get('v')} is not {STATE_VERSION}")
        if state["window_size"] != self._window.size:
            raise StateError(f"window of {state['window_size']} is not {self._window.size}")
        prices, times = state["prices"], state["times"]
        self._window.restore(prices, times)
        self._step = state["step"]
        self.partition = state["partition"]
        self.offset = state["offset"]
        self._builder.restore(state["minutes"])
        self.minutes.restore(state)
        self.calibrations.restore(state.get("calibrations", {}))
        if "scores" in state:
            self.scores.restore(state["scores"])
        if "digest" in state:
            self.digest.restore(state["digest"])
        self.validator.restore(state["order"])
        self.prints.restore(state)
        self.waiting.extend(Tick(*fields) for fields in state.get("waiting", ()))
        early = [Tick(*fields) for fields in state.get("tolerated", ())]
        if self.order is not None:
            self.order.restore(early)
        else:
            # The tolerance was above zero when the state was written.
            self.waiting.extend(early)
        if times:
            self.row = self._window.row(self.symbol, times[-1], prices[-1])
