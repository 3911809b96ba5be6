"""The past of a symbol: its minutes, or longer steps, with what was forecast and what came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from volsvc.domain import HORIZON_MINUTES
from volsvc.features import FLOOR_PER_MINUTE
from volsvc.scoring.past_outcomes import TradedMinutes, realised_after
from volsvc.scoring.scores import NUMBERS
from volsvc.store.columns import Columns, end_times, rounded
from volsvc.store.minute_rows import AFTER_GAP, PARTIAL
from volsvc.store.minute_table import Minutes, ModelName

_OF_HORIZON: Final = (*NUMBERS, "shadow_sigma", "realised")
# Fields of a row, in their order; those of a horizon end with its seconds.
FIELDS: Final = (
    *("time", "open", "high", "low", "close", "volume", "ticks", "minutes"),
    *("ret_mean", "ret_std", "n", "realised"),
    *(f"{name}_{60 * minutes}s" for minutes in HORIZON_MINUTES for name in _OF_HORIZON),
    *("model_variant", "version", "shadow_variant", "shadow_version", "gap", "partial"),
)

# Of them what is known at the end of a minute.
_KNOWN: Final = tuple(
    name for name in FIELDS if name != "minutes" and not name.startswith("realised_")
)


def traded_minutes(rows: NDArray[Any]) -> TradedMinutes:
    """Return what outcomes are derived from, of rows (MINUTE_ROW) that rise in time."""
    return TradedMinutes(
        rows["minute"].astype(np.int64),
        rows["variance"].astype(np.float64),
        (rows["flags"] & AFTER_GAP) > 0,
        (rows["flags"] & PARTIAL) > 0,
    )


def history(minutes: Minutes, last: int, step: int = 1, fields: Sequence[str] = FIELDS) -> Columns:
    """Return the minutes up to `last` as columns of these fields, a row for each `step` minutes.

    Steps without trades have no row. Of a step the prices are the first, greatest, least and last,
    and volume, ticks and variances are the sums. Features and forecasts are those at the end of its
    last minute with trades. The rows after `last`, as far as FOLLOWING, tell what became of them.
    """
    traded = traded_minutes(minutes.rows)
    rows = minutes.rows[: np.searchsorted(traded.minutes, last, side="right")]
    steps = traded.minutes[: len(rows)] // step
    starts = np.flatnonzero(np.diff(steps, prepend=-1))
    ends = np.append(starts, len(rows))[1:] - 1
    newest = rows[ends]
    realised = realised_after(
        newest["minute"].astype(np.int64), traded.observed(), FLOOR_PER_MINUTE
    )
    columns = {
        "time": end_times((steps[ends] + 1) * step - 1),
        **_of_steps(rows, starts),
        "minutes": ends - starts + 1,
        **_of_ends(newest, np.sqrt(realised), minutes.models),
    }
    return {name: columns[name] for name in fields}


def known_at_end(minutes: Minutes) -> Columns:
    """Return what is known at the end of each minute as columns, of rows in any order."""
    rows = minutes.rows
    unknown = np.full((len(rows), len(HORIZON_MINUTES)), np.nan)
    columns = {
        "time": end_times(rows["minute"]),
        **_of_steps(rows, np.arange(len(rows))),
        **_of_ends(rows, unknown, minutes.models),
    }
    return {name: columns[name] for name in _KNOWN}


def _of_steps(rows: NDArray[Any], starts: NDArray[np.intp]) -> dict[str, NDArray[Any]]:
    """Return the columns that are of all minutes of a step."""
    flags = np.bitwise_or.reduceat(rows["flags"], starts)
    variances = np.add.reduceat(rows["variance"], starts, dtype=np.float64)
    return {
        "open": rows["open"][starts],
        "high": np.maximum.reduceat(rows["high"], starts),
        "low": np.minimum.reduceat(rows["low"], starts),
        "volume": rounded(np.add.reduceat(rows["volume"], starts, dtype=np.float64)),
        "ticks": np.add.reduceat(rows["ticks"], starts, dtype=np.int64),
        "realised": rounded(np.sqrt(variances)),
        "gap": (flags & AFTER_GAP) > 0,
        "partial": (flags & PARTIAL) > 0,
    }


def _of_ends(
    newest: NDArray[Any], realised: NDArray[np.float64], models: Sequence[ModelName]
) -> dict[str, NDArray[Any]]:
    """Return the columns that are of a step's last minute."""
    return {
        "close": newest["close"],
        **{name: rounded(newest[name]) for name in ("ret_mean", "ret_std")},
        "n": newest["n"],
        **_of_horizons(newest, realised),
        **_of_models(newest, models),
    }


def _of_horizons(
    newest: NDArray[Any], realised: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    parts = (newest["forecasts"], newest["shadow_sigmas"][..., None], realised[..., None])
    numbers = rounded(np.concatenate(parts, axis=-1))
    return {
        f"{name}_{60 * minutes}s": numbers[:, index, place]
        for index, minutes in enumerate(HORIZON_MINUTES)
        for place, name in enumerate(_OF_HORIZON)
    }


def _of_models(newest: NDArray[Any], models: Sequence[ModelName]) -> dict[str, NDArray[Any]]:
    """Return the columns of the models; those of the shadow are empty where it has no forecast."""
    names = np.array([*models, ("", "")], object)
    silent = np.isnan(newest["shadow_sigmas"]).all(axis=1)
    shadow = names[np.where(silent, len(models), newest["shadow"])]
    served = names[newest["model"]]
    return {
        "model_variant": served[:, 0],
        "version": served[:, 1],
        "shadow_variant": shadow[:, 0],
        "shadow_version": shadow[:, 1],
    }
