"""Plots of an evaluation, as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from volsvc.models.base import HORIZONS_S
from volsvc.training.evaluation import Scores
from volsvc.training.fit import HeldOut
from volsvc.training.scores import CALIBRATION_BINS, Array
from volsvc.training.walkforward import OURS, Outlook

GROUPS = 40


def _panels(rows: int = 2, columns: int = 2) -> tuple[Any, list[Any]]:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        rows, columns, figsize=(5.5 * columns, 4 * rows), layout="constrained", squeeze=False
    )
    return figure, list(axes.ravel())


def _save(figure: Any, out: Path) -> None:
    from matplotlib import pyplot as plt

    # Without the software's version in it the same figures give the same bytes.
    figure.savefig(out, dpi=90, metadata={"Software": None})
    plt.close(figure)


def _grouped(key: Array, values: Array, groups: int) -> tuple[Array, Array]:
    """Means of `key` and `values` over groups of equal size in the order of `key`."""
    parts = np.array_split(np.argsort(key, kind="stable"), groups)
    return (
        np.array([key[part].mean() for part in parts]),
        np.array([values[part].mean() for part in parts]),
    )


def _beside_diagonal(axis: Any, horizon_s: float) -> None:
    """Where realised and forecast volatility are the same, and what the axes are."""
    span = axis.get_xlim()
    axis.plot(span, span, "k:", lw=1)
    axis.set_title(f"{horizon_s:g} s")
    axis.set_xlabel("forecast, basis points")
    axis.set_ylabel("realised, basis points")


def plot_forecasts(outlooks: Sequence[Outlook], out: Path) -> None:
    """Realised against forecast volatility: root means of groups of equal size, by horizon."""
    figure, axes = _panels()
    for axis, horizon in zip(axes, HORIZONS_S, strict=True):
        for outlook in (o for o in outlooks if o.horizon_s == horizon):
            x, y = _grouped(outlook.variances[OURS], outlook.realised, GROUPS)
            axis.loglog(1e4 * np.sqrt(x), 1e4 * np.sqrt(y), ".-", label=outlook.symbol, ms=4)
        _beside_diagonal(axis, horizon)
    axes[0].legend()
    _save(figure, out)


def plot_reliability(outlooks: Sequence[Outlook], out: Path) -> None:
    """Frequency of spikes against the probability that was given, by horizon."""
    figure, axes = _panels()
    for axis, horizon in zip(axes, HORIZONS_S, strict=True):
        for outlook in (o for o in outlooks if o.horizon_s == horizon):
            came = outlook.spike.astype(np.float64)
            x, y = _grouped(outlook.probability, came, CALIBRATION_BINS)
            axis.plot(x, y, ".-", label=outlook.symbol)
        axis.plot((0, 1), (0, 1), "k:", lw=1)
        axis.set_title(f"{horizon:g} s")
        axis.set_xlabel("probability")
        axis.set_ylabel("frequency")
    axes[0].legend()
    _save(figure, out)


def plot_held_out(held_out: Sequence[HeldOut], out: Path) -> None:
    """Realised against forecast volatility on rows that a fit had not seen, by horizon."""
    figure, axes = _panels()
    for axis, horizon, kept in zip(axes, HORIZONS_S, held_out, strict=True):
        x, y = _grouped(np.exp(kept.log_forecast), kept.rows.realised, GROUPS)
        axis.loglog(1e4 * np.sqrt(x), 1e4 * np.sqrt(y), ".-")
        _beside_diagonal(axis, horizon)
    _save(figure, out)


def plot_days(pooled: Sequence[Scores], out: Path) -> None:
    """QLIKE by day of our model and the anchors that matter, by horizon."""
    figure, axes = _panels()
    for axis, scores in zip(axes, pooled, strict=True):
        names = [n for n in ("EWMA", scores.best_har, OURS) if n in scores.daily]
        for name in names:
            axis.semilogy(scores.daily[name], label=name, lw=1)
        axis.set_title(f"{scores.horizon_s:g} s")
        axis.set_xlabel("day of the test")
        axis.set_ylabel("QLIKE")
        axis.legend()
    _save(figure, out)


def plot_recovery(minutes: Array, truth: Array, forecast: Array, bounds: Array, out: Path) -> None:
    """Forecast volatility after a jump of the true one, in bp; `bounds` is (2, minutes)."""
    figure, (axis,) = _panels(1, 1)
    axis.fill_between(minutes, *bounds, alpha=0.2, label="90 % interval")
    axis.semilogy(minutes, forecast, label="forecast")
    axis.semilogy(minutes, truth, "k--", label="truth")
    axis.set_xlabel("minutes since the jump")
    axis.set_ylabel("volatility, basis points")
    axis.legend()
    _save(figure, out)
