"""All that is kept of one symbol, and how a tick changes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from volsvc.config.settings import FeatureSettings
from volsvc.domain import NS, FeatureRow, Quality, Tick, Verdict
from volsvc.domain.feature_names import SCALE_NAMES
from volsvc.features.calibration import Calibration, ResidualLaws
from volsvc.features.digest_chain import DigestChain
from volsvc.features.forecast_history import ForecastHistory
from volsvc.features.history import History
from volsvc.features.minutes import MinuteBuilder
from volsvc.features.multiscale import MinuteBar, MultiScale
from volsvc.features.realised import HORIZON_MINUTES, RealisedVariances, Settled
from volsvc.features.return_window import ReturnWindow
from volsvc.features.tick_check import TickStatus, TickValidator
from volsvc.scoring.scores import AHEADS, WINDOW_DAYS, SymbolScores

STATE_VERSION = 3
# Watched minutes from which on a symbol counts as warm: a day, so that it has a daily pattern.
WARM_MINUTES = 1440.0


assert AHEADS == HORIZON_MINUTES


class StateError(ValueError):
    """A stored state of another version or of another window size."""


class MinuteEnd(NamedTuple):
    """What the end of a minute with trades brought: the features then, and what it settled."""

    bar: MinuteBar
    scales: NDArray[np.float64]
    settled: list[Settled]
    log_usual: tuple[float, ...]
    counts: tuple[int, ...]


class SymbolState:
    """One symbol's window, minutes, moments, outcomes, scores, order checks and history."""

    __slots__ = (
        "_calibrations",
        "_dumped",
        "_ended",
        "_minutes",
        "_step",
        "_step_ns",
        "_stored_calibrations",
        "_times",
        "_window",
        "digest",
        "engine",
        "forecast_history",
        "history",
        "offset",
        "order",
        "partition",
        "realised",
        "row",
        "scores",
        "symbol",
    )

    def __init__(
        self, symbol: str, settings: FeatureSettings, window_days: int = WINDOW_DAYS
    ) -> None:
        """`window_days` is how long a judged forecast counts in `scores`."""
        self.symbol = symbol
        self.order = TickValidator(settings.late_tolerance_s, settings.future_tolerance_s)
        self.history = History(settings.history)
        self.forecast_history = ForecastHistory(settings.history)
        self.engine = MultiScale()
        self.realised = RealisedVariances()
        self.scores = SymbolScores(symbol, window_days)
        self.digest = DigestChain()
        self.row: FeatureRow | None = None
        self.partition = 0
        self.offset = -1
        self._window = ReturnWindow(settings.window_size)
        self._times: list[int] = []
        self._step = -1
        self._step_ns = round(settings.publish_every_s * NS)
        self._minutes = MinuteBuilder()
        self._ended: list[MinuteEnd] = []
        self._dumped: Mapping[str, Any] | None = None
        self._calibrations: dict[str, Calibration] = {}
        self._stored_calibrations: dict[str, Any] = {}

    def update(self, tick: Tick, published_ns: int = 0) -> TickStatus:
        """Take in a tick; when it is new, the feature row after it is `row`.

        `published_ns` is when it was published, 0 where that is not known.
        """
        order = self.order.check(tick, published_ns)
        if order is TickStatus.NEW:
            price = tick.feature_price
            self._window.push(price)
            self._remember_time(tick.time_ns)
            over = self._minutes.push(tick.time_ns, price, tick.size or 0.0)
            if over is not None:
                bar, watched = over
                self.end_minute(bar, bar.variance, watched)
            self.row = self._features(tick.time_ns, price)
            self.history.append(self.row)
        return order

    def end_minute(self, bar: MinuteBar, one_minute: float, watched: float = 1.0) -> None:
        """Take in a minute that is over: what ticks come to, and what recorded bars are.

        `one_minute` is what stands for its variance at a horizon of one minute, and `watched` the
        fraction of it that was watched.
        """
        self._dumped = None
        gap = self.engine.is_gap(bar.minute)
        self.engine.push(bar, watched)
        settled = []
        if watched == 1.0:
            settled = self.realised.close(bar.minute, bar.variance, one_minute, gap=gap)
        usual, counts = self.realised.log_usual, self.realised.counts
        self._ended.append(MinuteEnd(bar, self.engine.row(bar.minute), settled, usual, counts))

    def take_ended(self) -> list[MinuteEnd]:
        """The minutes that have ended since the last call, oldest first."""
        ended, self._ended = self._ended, []
        return ended

    def scales(self) -> NDArray[np.float64]:
        """The multi-scale features at the newest tick, shape (len(SCALE_NAMES),); NaN while new."""
        if self.row is None:
            return np.full(len(SCALE_NAMES), np.nan)
        pending = self._minutes.pending(self.row.time_ns)
        if pending is None:
            return np.full(len(SCALE_NAMES), np.nan)
        bar, fraction = pending
        return self.engine.row(bar.minute, fraction, bar)

    def calibration(self, variant: str, digest: str, laws: Sequence[ResidualLaws]) -> Calibration:
        """This symbol's residuals under a model; from its pooled laws when it is new here.

        One a variant is kept: that which serves and its shadow both go on learning.
        """
        known = self._calibrations.get(variant)
        if known is None or known.digest != digest:
            known = self._calibrations[variant] = Calibration(digest, laws)
            # Once: a model that comes back later has pending forecasts of long ago in there.
            stored = self._stored_calibrations.pop(variant, None)
            if stored is not None:
                known.restore(stored)
        return known

    def take_due(self) -> bool:
        """Whether the newest row opened a step of the publishing grid; true once a step."""
        if self.row is None or self.row.time_ns // self._step_ns <= self._step:
            return False
        self._step = self.row.time_ns // self._step_ns
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
        )

    @property
    def warm(self) -> bool:
        """Whether enough was watched for a level and a daily pattern of its own."""
        return self.engine.elapsed >= WARM_MINUTES

    def quality(self) -> Quality:
        """The counts of this symbol's feed, and what they mean for its forecasts."""
        fill = self._window.n / (self._window.size - 1)
        verdict: Verdict = "ok" if fill == 1 and self.warm else "warming"
        return Quality(
            self.order.gaps,
            self.order.duplicates,
            self.order.late,
            fill,
            verdict,
            future=self.order.future,
            ticks=self.order.accepted,
        )

    def dump(self) -> Mapping[str, Any]:
        """The state that a restart needs, as JSON can carry it without loss.

        Without what `dump_learnt` gives, which moves with the forecasts and not with the ticks.
        """
        return {
            "v": STATE_VERSION,
            "window_size": self._window.size,
            "partition": self.partition,
            "offset": self.offset,
            "prices": self._window.prices().tolist(),
            "times": list(self._times),
            "step": self._step,
            "minutes": self._minutes.dump(),
            **self._dump_minutes(),
            "order": self.order.dump(),
        }

    def _dump_minutes(self) -> Mapping[str, Any]:
        # The state is written each second, and these change with the minute.
        if self._dumped is None:
            self._dumped = {"engine": self.engine.dump(), "outcomes": self.realised.dump()}
        return self._dumped

    def dump_learnt(self) -> Mapping[str, Any]:
        """What moves with forecasts: residuals by variant, scores with what is pending, digest."""
        learnt = {variant: known.dump() for variant, known in self._calibrations.items()}
        return {
            "calibrations": {**self._stored_calibrations, **learnt},
            "scores": self.scores.dump(),
            "digest": self.digest.dump(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `dump` gave; raises StateError when it does not fit.

        History and trail start empty: conveniences, not state that features rest on.
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
        self._minutes.restore(state["minutes"])
        self.engine.restore(state["engine"])
        self.realised.restore(state["outcomes"])
        self._stored_calibrations = dict(state.get("calibrations", {}))
        if "scores" in state:
            self.scores.restore(state["scores"])
        if "digest" in state:
            self.digest.restore(state["digest"])
        self.order.restore(state["order"])
        if self._times:
            self.row = self._features(self._times[-1], state["prices"][-1])
