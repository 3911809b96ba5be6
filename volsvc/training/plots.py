"""Plots of an evaluation, as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from volsvc.models.columns import HORIZONS_S
from volsvc.training.evaluation import Scores
from volsvc.training.fit import HeldOut
from volsvc.training.scores import CALIBRATION_BINS, Array
from volsvc.training.walkforward import OURS, WalkForwardResult

# Points of a curve, each the mean of as many rows as the others.
GROUPS = 40


def _panels(rows: int = 2, columns: int = 2) -> tuple[Any, list[Any]]:
    # Imported here, since importing it takes long.
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        rows, columns, figsize=(5.5 * columns, 4 * rows), layout="constrained", squeeze=False
    )
    return figure, list(axes.ravel())


def _save(figure: Any, out: Path) -> None:
    from matplotlib import pyplot as plt

    # The version of the software is left out, so that the same figures give the same bytes.
    figure.savefig(out, dpi=90, metadata={"Software": None})
    plt.close(figure)


def _grouped(key: Array, values: Array, groups: int) -> tuple[Array, Array]:
    """Return means of `key` and `values` over groups of equal size, in the order of `key`."""
    parts = np.array_split(np.argsort(key, kind="stable"), groups)
    return (
        np.array([key[part].mean() for part in parts]),
        np.array([values[part].mean() for part in parts]),
    )


def _beside_diagonal(axis: Any, horizon_s: float) -> None:
    """Draw the line of equal realised and forecast volatility, and label the axes."""
    span = axis.get_xlim()
    axis.plot(span, span, "k:", lw=1)
    axis.set_title(f"{horizon_s:g} s")
    axis.set_xlabel("forecast, basis points")
    axis.set_ylabel("realised, basis points")


def plot_forecasts(results: Sequence[WalkForwardResult], out: Path) -> None:
    """Plot realised against forecast volatility by horizon: root means of groups of equal size."""
    figure, axes = _panels()
    for axis, horizon in zip(axes, HORIZONS_S, strict=True):
        for result in (r for r in results if r.horizon_s == horizon):
            x, y = _grouped(result.variances[OURS], result.realised, GROUPS)
            axis.loglog(1e4 * np.sqrt(x), 1e4 * np.sqrt(y), ".-", label=result.symbol, ms=4)
        _beside_diagonal(axis, horizon)
    axes[0].legend()
    _save(figure, out)


def plot_reliability(results: Sequence[WalkForwardResult], out: Path) -> None:
    """Plot the frequency of spikes against their forecast probability, by horizon."""
    figure, axes = _panels()
    for axis, horizon in zip(axes, HORIZONS_S, strict=True):
        for result in (r for r in results if r.horizon_s == horizon):
            spikes = result.spike.astype(np.float64)
            x, y = _grouped(result.probability, spikes, CALIBRATION_BINS)
            axis.plot(x, y, ".-", label=result.symbol)
        axis.plot((0, 1), (0, 1), "k:", lw=1)
        axis.set_title(f"{horizon:g} s")
        axis.set_xlabel("probability")
        axis.set_ylabel("frequency")
    axes[0].legend()
    _save(figure, out)


def plot_held_out(held_out: Sequence[HeldOut], out: Path) -> None:
    """Plot realised against forecast volatility on rows that a fit had not seen, by horizon."""
    figure, axes = _panels()
    for axis, horizon, kept in zip(axes, HORIZONS_S, held_out, strict=True):
        x, y = _grouped(np.exp(kept.log_forecast), kept.rows.realised, GROUPS)
        axis.loglog(1e4 * np.sqrt(x), 1e4 * np.sqrt(y), ".-")
        _beside_diagonal(axis, horizon)
    _save(figure, out)


def plot_days(pooled: Sequence[Scores], out: Path) -> None:
    """Plot QLIKE by day of our model, EWMA and the best HAR, by horizon."""
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
    """Plot forecast volatility after a jump of the true one, in bp; `bounds` is (2, minutes)."""
    figure, (axis,) = _panels(1, 1)
    axis.fill_between(minutes, *bounds, alpha=0.2, label="90 % interval")
    axis.semilogy(minutes, forecast, label="forecast")
    axis.semilogy(minutes, truth, "k--", label="truth")
    axis.set_xlabel("minutes since the jump")
    axis.set_ylabel("volatility, basis points")
    axis.legend()
    _save(figure, out)
