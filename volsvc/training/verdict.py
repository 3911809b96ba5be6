"""The verdict on a fit: its losses on held-out rows against those of another model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from volsvc.models import HORIZONS_S, BarAdapter, Model
from volsvc.models.base import matrix_of_scales
from volsvc.scoring.past_outcomes import qlike
from volsvc.training.fit import HeldOut
from volsvc.training.scores import by_day, diebold_mariano

# A difference of daily losses whose t is beyond this is hardly chance.
CLEAR_T: Final = 2.0


class HorizonComparison(NamedTuple):
    """The loss (QLIKE) of a fit on the held-out rows of one horizon, and of another model there.

    `t` is that of Diebold and Mariano on daily means, negative if the fit is better; NaN if the
    days are too few.
    """

    horizon_s: float
    days: int
    loss: float
    other_loss: float
    t: float


def compare(held_out: Sequence[HeldOut], other: Model) -> list[HorizonComparison]:
    """Compare a fit with another model on the rows that its members had not seen."""
    # The target a minute ahead is the range, as from bars.
    adapted = BarAdapter(other)
    comparisons = []
    for index, (horizon, kept) in enumerate(zip(HORIZONS_S, held_out, strict=True)):
        realised, minute = kept.rows.realised, kept.rows.minute
        theirs = adapted.variances(matrix_of_scales(kept.rows.scales), HORIZONS_S)[:, index]
        losses = qlike(realised, np.exp(kept.log_forecast)), qlike(realised, theirs)
        daily, daily_other = (by_day(loss, minute) for loss in losses)
        t = diebold_mariano(daily, daily_other).t
        ours, other_loss = (float(loss.mean()) for loss in losses)
        comparisons.append(HorizonComparison(horizon, len(daily), ours, other_loss, t))
    return comparisons


def verdict_of(name: str, comparisons: Sequence[HorizonComparison]) -> list[str]:
    """Return the verdict in words, and a line for each horizon; `name` is that of the other."""
    better, worse = (
        [f"{c.horizon_s:g} s" for c in comparisons if sign * c.t > CLEAR_T] for sign in (-1, 1)
    )
    if worse:
        verdict = f"worse than {name} at {', '.join(worse)}"
        verdict += f", better at {', '.join(better)}" if better else ""
    elif better:
        verdict = f"better than {name} at {', '.join(better)}, and nowhere clearly worse"
    else:
        verdict = f"not clearly different from {name}"
    return [f"the candidate is {verdict}", *map(_line, comparisons)]


def _line(one: HorizonComparison) -> str:
    return (
        f"  {one.horizon_s:5g} s: QLIKE {one.loss:.4f} against {one.other_loss:.4f} "
        f"({one.loss / one.other_loss - 1:+.1%}) on {one.days} held-out days, t = {one.t:.1f}"
    )
