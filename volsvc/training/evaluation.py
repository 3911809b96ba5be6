"""The table of a walk-forward: every figure of docs/feature_spec.md, by symbol and pooled."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from volsvc.training.anchors import CASCADE_HARS
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
    qlike,
)
from volsvc.training.walkforward import OURS, Outlook

MCS_SEED = 7


@dataclass(frozen=True)
class Calibrated:
    """How our probabilities and intervals did; `coverage_low_day` is the 5 % quantile of days."""

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
    """One symbol at one horizon, or all of them pooled (symbol `all`)."""

    symbol: str
    horizon_s: float
    rows: int
    qlike: Mapping[str, float]
    daily: Mapping[str, Array]
    calibration: Calibrated
    mz: MincerZarnowitz
    dm: Mapping[str, DieboldMariano]
    confidence_set: tuple[str, ...] = ()
    worst_day_ratio: float = math.nan
    worst_day: str = ""

    @property
    def best_har(self) -> str:
        """The HAR with the lowest loss here, among those on Corsi's cascade."""
        return min((n for n in self.qlike if n in CASCADE_HARS), key=self.qlike.__getitem__)

    def gain(self, other: str) -> float:
        """Our loss relative to another model's: -0.1 is ten per cent lower."""
        return self.qlike[OURS] / self.qlike[other] - 1


def score(outlook: Outlook) -> Scores:
    """Every figure of one symbol at one horizon."""
    losses = {name: qlike(outlook.realised, h) for name, h in outlook.variances.items()}
    daily = {name: by_day(loss, outlook.minute) for name, loss in losses.items()}
    ratio = daily[OURS] / daily["EWMA"] if "EWMA" in daily else np.full(1, math.nan)
    worst = int(np.argmax(ratio))
    first_day = int(outlook.minute[0]) // 1440
    return Scores(
        symbol=outlook.symbol,
        horizon_s=outlook.horizon_s,
        rows=len(outlook.minute),
        qlike={name: float(loss.mean()) for name, loss in losses.items()},
        daily=daily,
        calibration=_calibration([outlook]),
        mz=mincer_zarnowitz(outlook.realised, outlook.variances[OURS]),
        dm={name: diebold_mariano(daily[OURS], d) for name, d in daily.items() if name != OURS},
        confidence_set=model_confidence_set(daily, MCS_SEED),
        worst_day_ratio=float(ratio[worst]),
        worst_day=str(np.datetime64("1970-01-01") + (first_day + worst)),
    )


def pool(outlooks: Sequence[Outlook], scores: Sequence[Scores]) -> Scores:
    """All symbols at one horizon: the mean of their losses; tests on the mean of their days."""
    names = list(scores[0].qlike)
    days = min(len(s.daily[OURS]) for s in scores)
    daily = {n: np.mean([s.daily[n][:days] for s in scores], axis=0) for n in names}
    worst = max(scores, key=lambda s: s.worst_day_ratio)
    return Scores(
        symbol="all",
        horizon_s=scores[0].horizon_s,
        rows=sum(s.rows for s in scores),
        qlike={n: float(np.mean([s.qlike[n] for s in scores])) for n in names},
        daily=daily,
        calibration=_calibration(outlooks),
        mz=mincer_zarnowitz(
            np.concatenate([o.realised for o in outlooks]),
            np.concatenate([o.variances[OURS] for o in outlooks]),
        ),
        dm={n: diebold_mariano(daily[OURS], daily[n]) for n in names if n != OURS},
        confidence_set=model_confidence_set(daily, MCS_SEED),
        worst_day_ratio=worst.worst_day_ratio,
        worst_day=f"{worst.symbol} {worst.worst_day}",
    )


def _calibration(outlooks: Sequence[Outlook]) -> Calibrated:
    spike = np.concatenate([o.spike for o in outlooks])
    probability = np.concatenate([o.probability for o in outlooks])
    inside = [(np.sqrt(o.realised) >= o.low) & (np.sqrt(o.realised) <= o.high) for o in outlooks]
    days = np.concatenate(
        [by_day(i.astype(np.float64), o.minute) for i, o in zip(inside, outlooks, strict=True)]
    )
    widths = [np.log(o.high / o.low).mean() for o in outlooks]
    base = float(spike.mean())
    # EWMA has no probabilities: it is ranked by its forecast relative to the limit.
    ewma = [np.log(o.variances["EWMA"]) - o.log_limit for o in outlooks if "EWMA" in o.variances]
    error = brier(spike, probability)
    return Calibrated(
        base_rate=base,
        pr_auc=float(np.mean([pr_auc(o.spike, o.probability) for o in outlooks])),
        pr_auc_ewma=float(
            np.mean([pr_auc(o.spike, e) for o, e in zip(outlooks, ewma, strict=True)])
        )
        if ewma
        else math.nan,
        brier=error,
        skill=1 - error / (base * (1 - base)) if 0 < base < 1 else math.nan,
        ece=expected_calibration_error(spike, probability),
        coverage=float(np.concatenate(inside).mean()),
        coverage_low_day=float(np.quantile(days, 0.05)),
        log_width=float(np.mean(widths)),
    )
