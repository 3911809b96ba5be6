"""Scores of a walk-forward: every figure of docs/feature_spec.md, by symbol and pooled."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from volsvc.scoring.past_outcomes import qlike
from volsvc.training.anchors import HARS
from volsvc.training.scores import (
    Array,
    DieboldMariano,
    MincerZarnowitz,
    brier,
    by_day,
    diebold_mariano,
    expected_calibration_error,
    mincer_zarnowitz,
    model_confidence_set,
    pr_auc,
)
from volsvc.training.walkforward import DAY, OURS, WalkForwardResult

# The bootstrap of the model confidence set is random; a fixed seed makes reports reproducible.
MCS_SEED = 7
# Day 0 of the epoch was a Thursday, and Monday is 0.
_MONDAY = 3


@dataclass(frozen=True)
class CalibrationScores:
    """Scores of our probabilities and intervals; `coverage_low_day` is the 5 % quantile of days."""

    # The names are those of scores.json.

    base_rate: float
    pr_auc: float
    pr_auc_ewma: float
    brier: float
    skill: float
    ece: float
    coverage: float
    coverage_low_day: float
    log_width: float


@dataclass(frozen=True)
class Scores:
    """Scores of one symbol at one horizon, or of all of them pooled (symbol `all`).

    `qlike`, `weekend_qlike` (that of Saturdays and Sundays, UTC), `daily` and `dm` (our losses
    against another model's) are by model.
    """

    symbol: str
    horizon_s: float
    rows: int
    qlike: Mapping[str, float]
    weekend_qlike: Mapping[str, float]
    daily: Mapping[str, Array]
    calibration: CalibrationScores
    mz: MincerZarnowitz
    dm: Mapping[str, DieboldMariano]
    confidence_set: tuple[str, ...] = ()
    worst_day_ratio: float = math.nan
    worst_day: str = ""

    @property
    def best_har(self) -> str:
        """The HAR with the lowest loss."""
        return min((n for n in self.qlike if n in HARS), key=self.qlike.__getitem__)

    def gain(self, other: str) -> float:
        """Return our loss relative to another model's: -0.1 is ten per cent lower."""
        return self.qlike[OURS] / self.qlike[other] - 1

    def weekend_gain(self, other: str) -> float:
        """Return our loss on weekends relative to another model's; NaN without a weekend."""
        return self.weekend_qlike[OURS] / self.weekend_qlike[other] - 1


def score(result: WalkForwardResult) -> Scores:
    """Return the scores of one symbol at one horizon."""
    losses = {name: qlike(result.realised, h) for name, h in result.variances.items()}
    daily = {name: by_day(loss, result.minute) for name, loss in losses.items()}
    ratio = daily[OURS] / daily["EWMA"] if "EWMA" in daily else np.full(1, math.nan)
    worst = int(np.argmax(ratio))
    first_day = int(result.minute[0]) // DAY
    weekend = (result.minute // DAY + _MONDAY) % 7 >= 5
    return Scores(
        symbol=result.symbol,
        horizon_s=result.horizon_s,
        rows=len(result.minute),
        qlike={name: float(loss.mean()) for name, loss in losses.items()},
        weekend_qlike={
            name: float(loss[weekend].mean()) if weekend.any() else math.nan
            for name, loss in losses.items()
        },
        daily=daily,
        calibration=_calibration([result]),
        mz=mincer_zarnowitz(result.realised, result.variances[OURS]),
        dm={name: diebold_mariano(daily[OURS], d) for name, d in daily.items() if name != OURS},
        confidence_set=model_confidence_set(daily, MCS_SEED),
        worst_day_ratio=float(ratio[worst]),
        worst_day=str(np.datetime64("1970-01-01") + (first_day + worst)),
    )


def pool(results: Sequence[WalkForwardResult], scores: Sequence[Scores]) -> Scores:
    """Return the scores of all symbols at one horizon.

    The losses are means over symbols; the tests are on the means of their days.
    """
    names = list(scores[0].qlike)
    # Recordings may end on different days; tests need a loss of every symbol on each.
    days = min(len(s.daily[OURS]) for s in scores)
    daily = {n: np.mean([s.daily[n][:days] for s in scores], axis=0) for n in names}
    worst = max(scores, key=lambda s: s.worst_day_ratio)
    return Scores(
        symbol="all",
        horizon_s=scores[0].horizon_s,
        rows=sum(s.rows for s in scores),
        qlike={n: float(np.mean([s.qlike[n] for s in scores])) for n in names},
        weekend_qlike={n: _mean([s.weekend_qlike[n] for s in scores]) for n in names},
        daily=daily,
        calibration=_calibration(results),
        mz=mincer_zarnowitz(
            np.concatenate([r.realised for r in results]),
            np.concatenate([r.variances[OURS] for r in results]),
        ),
        dm={n: diebold_mariano(daily[OURS], daily[n]) for n in names if n != OURS},
        confidence_set=model_confidence_set(daily, MCS_SEED),
        worst_day_ratio=worst.worst_day_ratio,
        worst_day=f"{worst.symbol} {worst.worst_day}",
    )


def _mean(values: Sequence[float]) -> float:
    """Return the mean of the values that are known; NaN without one."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def _calibration(results: Sequence[WalkForwardResult]) -> CalibrationScores:
    spike = np.concatenate([r.spike for r in results])
    probability = np.concatenate([r.probability for r in results])
    inside = [(np.sqrt(r.realised) >= r.low) & (np.sqrt(r.realised) <= r.high) for r in results]
    days = np.concatenate(
        [by_day(i.astype(np.float64), r.minute) for i, r in zip(inside, results, strict=True)]
    )
    widths = [np.log(r.high / r.low).mean() for r in results]
    base = float(spike.mean())
    # EWMA has no probabilities: it is ranked by its forecast relative to the limit.
    ewma = [np.log(r.variances["EWMA"]) - r.log_limit for r in results if "EWMA" in r.variances]
    error = brier(spike, probability)
    return CalibrationScores(
        base_rate=base,
        pr_auc=float(np.mean([pr_auc(r.spike, r.probability) for r in results])),
        pr_auc_ewma=float(np.mean([pr_auc(r.spike, e) for r, e in zip(results, ewma, strict=True)]))
        if ewma
        else math.nan,
        brier=error,
        skill=1 - error / (base * (1 - base)) if 0 < base < 1 else math.nan,
        ece=expected_calibration_error(spike, probability),
        coverage=float(np.concatenate(inside).mean()),
        coverage_low_day=float(np.quantile(days, 0.05)),
        log_width=float(np.mean(widths)),
    )
