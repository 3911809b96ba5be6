"""The minutes of symbols, as the store keeps them."""

from __future__ import annotations

import numpy as np

from volsvc.features import SymbolTable
from volsvc.features.kernels.points import MINUTE
from volsvc.models import SymbolForecasts
from volsvc.store import AFTER_GAP, MINUTE_ROW, PARTIAL, Minutes


def minutes_of(table: SymbolTable, forecasts: SymbolForecasts) -> Minutes:
    """Return the minutes that ended at the points of settled forecasts."""
    ends = np.flatnonzero(forecasts.points["kind"] <= MINUTE)
    points = forecasts.points[ends]
    bars, window = points["bar"], points["row"]
    rows = np.zeros(len(ends), MINUTE_ROW)
    for name in ("minute", "open", "high", "low", "close", "volume", "ticks", "variance"):
        rows[name] = bars[name]
    for name in ("ret_mean", "ret_std", "n"):
        rows[name] = window[name]
    rows["flags"] = AFTER_GAP * points["gap"] + PARTIAL * (points["observed"] < 1.0)
    rows["forecasts"], rows["shadow_sigmas"] = forecasts.at_minutes(ends)
    models = [(model.variant, model.version) for model in forecasts.models]
    rows["shadow"] = len(models) - 1
    return Minutes([table.symbol(row) for row in points["symbol"].tolist()], rows, models)
