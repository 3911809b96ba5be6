"""Matured forecasts of a symbol with their losses, derived from its minutes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from volsvc.domain import HORIZON_MINUTES
from volsvc.features import FLOOR_PER_MINUTE
from volsvc.scoring.past_outcomes import are_due, brier, qlike, realised_after
from volsvc.scoring.scores import NUMBERS, VARIANTS
from volsvc.scoring.track_record import Issued
from volsvc.store.columns import Columns, end_times, rounded
from volsvc.store.history import traded_minutes
from volsvc.store.minute_table import Minutes

# Most outcomes of the forecasts of one minute.
MOST_OF_MINUTE: Final = 2 * len(HORIZON_MINUTES)
_MINUTES: Final = np.array(HORIZON_MINUTES)


def outcomes(
    minutes: Minutes,
    last: int,
    horizons: Sequence[int] = HORIZON_MINUTES,
    limit: int | None = None,
) -> tuple[Columns, int | None]:
    """Return the outcomes of forecasts at the ends of minutes up to `last`, as columns.

    They are in order of issue, horizon and model, of the serving model first. Its shadow has a
    sigma alone, so the rest of its numbers is NaN. The rows after `last`, as far as FOLLOWING, tell
    what became of the forecasts; those without an outcome are left out. Also returns the first
    minute of which `limit` left no room for all outcomes, None without one.
    """
    traded = traded_minutes(minutes.rows)
    rows = minutes.rows[: np.searchsorted(traded.minutes, last, side="right")]
    issued = traded.minutes[: len(rows)]
    realised = realised_after(issued, traded.observed(), FLOOR_PER_MINUTE)
    numbers = np.full((len(rows), len(HORIZON_MINUTES), 2, len(NUMBERS)), np.nan)
    numbers[:, :, 0] = rows["forecasts"]
    numbers[:, :, 1, 0] = rows["shadow_sigmas"]
    scored = are_due(issued) & ~np.isnan(realised) & np.isin(_MINUTES, horizons)
    found = np.transpose(np.nonzero(scored[..., None] & ~np.isnan(numbers[..., 0])))
    rest = None
    if limit is not None and len(found) > limit:
        rest = int(issued[found[limit, 0]])
        found = found[issued[found[:, 0]] < rest]
    at, horizon, place = found.T
    names = np.array([*minutes.models, ("", "")], object)
    models = names[np.where(place == 0, rows["model"][at], rows["shadow"][at])]
    columns = {
        "issued": end_times(issued[at]),
        "matured": end_times(issued[at] + _MINUTES[horizon]),
        "horizon_s": 60.0 * _MINUTES[horizon],
        "model_variant": models[:, 0],
        "version": models[:, 1],
        **_scored(numbers[at, horizon, place], realised[at, horizon]),
    }
    return columns, rest


def _scored(numbers: NDArray[np.float64], realised: NDArray[np.float64]) -> dict[str, Any]:
    """Return the columns of forecasts (scores.NUMBERS) and of their losses."""
    sigma, lo, hi, threshold, score = numbers.T
    volatility = np.sqrt(realised)
    covered = ((lo <= volatility) & (volatility <= hi)).astype(object)
    covered[np.isnan(lo)] = None
    return {
        **{name: rounded(column) for name, column in zip(NUMBERS, numbers.T, strict=True)},
        "realised": rounded(volatility),
        "qlike": rounded(qlike(realised, sigma**2)),
        "covered": covered,
        "brier": rounded(brier(score, volatility > threshold)),
    }


def issued_forecasts(minutes: Minutes) -> Issued:
    """Return the forecasts of minutes for a track record."""
    rows = minutes.rows
    # A variant by the place that outcomes give it: whatever is not the baseline is fitted.
    variants = np.array([VARIANTS[0] == variant for variant, _ in minutes.models], bool)
    is_baseline = np.append(variants, False)
    served, shadow = rows["forecasts"][..., 0], rows["shadow_sigmas"]
    baseline, other = (is_baseline[rows[name]][:, None] for name in ("model", "shadow"))
    sigmas = [
        np.where(serves, served, np.where(is_shadow, shadow, np.nan))
        for serves, is_shadow in ((~baseline, ~other), (baseline, other))
    ]
    return Issued(
        traded_minutes(rows),
        rows["forecasts"].astype(np.float64),
        np.array(sigmas, np.float64),
    )
