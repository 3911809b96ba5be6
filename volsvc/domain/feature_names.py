"""Names of the multi-scale features, and half-lives of the averages behind them.

The names are part of the public contract: they are the keys of a published `features` map.
Formulas: docs/feature_spec.md.
"""

from __future__ import annotations

from typing import Final

DAY: Final = 1440.0
# In minutes, as all half-lives.
WEEK: Final = 10_080.0
SEASON_HORIZONS_S = (60, 300, 900, 3600)

# Name of the averaged quantity, and the half-life in minutes.
Kernel = tuple[str, float]

# Half-lives in minutes of each averaged quantity. All but raw, trend, volume, active, calm and
# returns are divided by the daily pattern.
#   variance  realised variance of the minute
#   cross     return times the previous return
#   bipower   pi/2 times the absolute value of that product (Barndorff-Nielsen and Shephard 2004)
#   down      part of the variance from falling prices
#   range     Parkinson's variance, (ln high/low)**2 / (4 ln 2)
#   trend     return
#   volume    size traded
#   active    1 for a minute with trades
#   raw       realised variance, daily pattern included
#   quartic   Parkinson's variance squared
#   calm      ln of the half-hour variance relative to the level
#   returns   number of returns behind the variance
KERNELS: dict[str, tuple[float, ...]] = {
    "variance": (1.5, 4, 10, 30, 90, 360, DAY, 4320, WEEK),
    "cross": (4, 10, 30, 360),
    "bipower": (4, 10, 30, 360, WEEK),
    "down": (4, 10, 30, 360),
    "range": (0.7, 2, 6, 30, 90, 360, WEEK),
    "trend": (5, 30),
    "volume": (2, 10, 60, 360, WEEK),
    "active": (5, 30, DAY),
    "raw": (DAY,),
    "quartic": (360, WEEK),
    "calm": (DAY, WEEK),
    "returns": (30,),
}
# All averages, in the order of the state's vector of sums.
ALL_KERNELS: tuple[Kernel, ...] = tuple(
    (name, half) for name, halves in KERNELS.items() for half in halves
)


def _of(*names: str, week: bool = True) -> list[Kernel]:
    return [key for key in ALL_KERNELS if key[0] in names and (week or key[1] != WEEK)]


LOGS = _of("variance", week=False) + _of("range", week=False)
RATIOS = _of("cross", "bipower", "down")
TRENDS = _of("trend")
VOLUMES = _of("volume", week=False)
ACTIVE = _of("active")
QUARTIC = _of("quartic")
CALM = _of("calm")


def _name(key: Kernel) -> str:
    return f"{key[0]}_{key[1]:g}m"


# The first inputs of a model: mean and deviation of the returns in the window, their number, and
# the seconds that they cover.
WINDOW_NAMES: Final = ("ret_mean", "ret_std", "n", "span_s")

# Names of the multi-scale features, in order; fitted models read them by position.
SCALE_NAMES: tuple[str, ...] = (
    "level",
    *(f"season_{horizon}s" for horizon in SEASON_HORIZONS_S),
    *map(_name, LOGS),
    *map(_name, RATIOS),
    *map(_name, TRENDS),
    *(f"abs_{_name(key)}" for key in TRENDS),
    *map(_name, VOLUMES),
    *map(_name, ACTIVE),
    *map(_name, QUARTIC),
    *map(_name, CALM),
    "silence",
    "resolution",
    "season_log",
    "hour_minute",
    "weekend",
    "monday",
    *("day_sin1", "day_cos1", "day_sin2", "day_cos2", "day_sin3", "day_cos3"),
    "age",
)
