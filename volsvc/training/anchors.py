"""The standard models of the literature, fitted for one symbol and horizon on its past.

They are the anchors of an evaluation: the losses that our model has to beat. Every function takes
all minutes of a symbol and the indices of the minutes to fit on, and returns forecasts of variance
for every minute, shape (minutes,), each of which depends on minutes up to its own alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from volsvc.features import FLOOR_PER_MINUTE, SCALE_NAMES
from volsvc.models.heads import level_variance
from volsvc.models.kernels.heads import MIN_LEVEL_SHARE, RANGES, VARIANCES
from volsvc.scoring.past_outcomes import qlike
from volsvc.training.dataset import Array, Minutes
from volsvc.training.fit import qlike_mixture

Index = NDArray[np.intp]
# Minutes among which the EWMA's half-life is chosen, on the training minutes.
HALF_LIVES: Final = (2, 4, 8, 15, 30, 60, 120, 240, 480)
# Newest minutes that GARCH is fitted on; more change nothing and take long.
GARCH_MINUTES: Final = 200_000
FIVE_WINDOWS: Final = (5, 30, 180, 1440, 10_080)
_LEVEL, _RANGES, _VARIANCES = (
    [SCALE_NAMES.index(name) for name in names] for names in (["level"], RANGES, VARIANCES)
)


def least_forecast(symbol: Minutes, horizon_s: float) -> Array:
    """Return the least forecast of any model, of shape (minutes,): a share of the slow level.

    Without it a few quiet minutes, or those after an outage, decide an anchor's loss.
    """
    level = MIN_LEVEL_SHARE * level_variance(symbol.scales, horizon_s)
    # Minutes without features have no level.
    return np.fmax(level, FLOOR_PER_MINUTE * round(horizon_s / 60))


def cascade(horizon_s: float) -> tuple[int, ...]:
    """Return the windows of a HAR in minutes: the horizon, an hour, a day, a week.

    This is the cascade of Corsi (2009) on minutes. At a horizon of an hour, six hours stand for the
    hour; below five minutes, five stand for the horizon.
    """
    ahead = round(horizon_s / 60)
    return (max(ahead, 5), 60 if ahead < 60 else 360, 1440, 10_080)


def ewma(symbol: Minutes, horizon_s: float, train: Index) -> Array:
    """Forecast by an EWMA of the horizon's own proxy, at its best half-life."""
    from scipy.signal import lfilter

    ahead = round(horizon_s / 60)
    realised = symbol.realised(horizon_s)[train]
    proxy = symbol.proxy(horizon_s)
    least = least_forecast(symbol, horizon_s)
    best, best_loss = np.empty(0), math.inf
    for half_life in HALF_LIVES:
        decay = 2.0 ** (-1 / half_life)
        smooth = lfilter([1 - decay], [1, -decay], proxy)
        # The filter starts from 0; the division corrects that bias.
        smooth = smooth / (1 - decay ** np.arange(1, len(proxy) + 1))
        forecast = np.maximum(smooth * ahead, least)
        loss = float(qlike(realised, forecast[train]).mean())
        if loss < best_loss:
            best, best_loss = forecast, loss
    return best


def _season(symbol: Minutes, horizon_s: float) -> tuple[Array, Array]:
    """Return each minute's diurnal factor, and the sum of the factors over its horizon."""
    now = np.exp(symbol.scales[:, SCALE_NAMES.index("season_log")])
    # A row's factor is that of the minute that follows it.
    factor = np.concatenate(([1.0], now[:-1]))
    ahead = symbol.scales[:, SCALE_NAMES.index(f"season_{round(horizon_s)}s")]
    return factor, np.asarray(ahead * horizon_s / 60)


def _windows(values: Array, windows: tuple[int, ...]) -> Array:
    """Return means over trailing windows, shape (minutes, windows)."""
    total = np.concatenate(([0.0], np.cumsum(values)))
    ends = np.arange(1, len(values) + 1)
    means = [(total[ends] - total[np.maximum(ends - w, 0)]) / np.minimum(ends, w) for w in windows]
    return np.column_stack(means)


def _with_constant(means: Array) -> Array:
    return np.column_stack((means, np.full(len(means), FLOOR_PER_MINUTE)))


def har(symbol: Minutes, horizon_s: float, train: Index) -> Array:
    """Forecast by a HAR (Corsi 2009), fitted by weighted least squares.

    The weights are the inverse of the squared window mean. No forecast is above what was realised
    in the training minutes.
    """
    ahead = round(horizon_s / 60)
    means = np.maximum(_windows(symbol.proxy(horizon_s), cascade(horizon_s)), 0.0)
    columns = _with_constant(means)
    scale = np.maximum(means.mean(axis=1), FLOOR_PER_MINUTE)
    realised = symbol.realised(horizon_s)[train] / ahead
    weights, *_ = np.linalg.lstsq(
        columns[train] / scale[train, None], realised / scale[train], rcond=None
    )
    # The usual insanity filter: a linear forecast may be negative, and one of a short fit anything.
    sane = np.clip(columns @ weights, 0.1 * scale, max(realised.max(), FLOOR_PER_MINUTE))
    return np.asarray(sane * ahead)


def log_har(symbol: Minutes, horizon_s: float, train: Index) -> Array:
    """Forecast by a HAR in logarithms, diurnally adjusted.

    Duan's smearing brings the forecast back to levels.
    """
    factor, season = _season(symbol, horizon_s)
    means = _windows(symbol.proxy(horizon_s) / factor, cascade(horizon_s))
    logs = np.column_stack((np.log(np.maximum(means, FLOOR_PER_MINUTE)), np.ones(len(means))))
    realised = symbol.realised(horizon_s)
    weights, *_ = np.linalg.lstsq(logs[train], np.log(realised[train] / season[train]), rcond=None)
    forecast = np.exp(logs @ weights) * season
    return np.asarray(forecast * np.mean(realised[train] / forecast[train]))


def _qlike_mixture(symbol: Minutes, horizon_s: float, train: Index, means: Array) -> Array:
    """Forecast by the mixture of means, without the daily pattern, that minimises QLIKE."""
    _, season = _season(symbol, horizon_s)
    columns = _with_constant(means)
    weights = qlike_mixture(columns[train], symbol.realised(horizon_s)[train] / season[train])
    return np.asarray(columns @ weights * season)


def _qlike_har(symbol: Minutes, horizon_s: float, train: Index, windows: tuple[int, ...]) -> Array:
    factor, _ = _season(symbol, horizon_s)
    means = _windows(symbol.proxy(horizon_s) / factor, windows)
    return _qlike_mixture(symbol, horizon_s, train, means)


def qlike_har(symbol: Minutes, horizon_s: float, train: Index) -> Array:
    """Forecast by a diurnally adjusted HAR whose coefficients minimise QLIKE."""
    return _qlike_har(symbol, horizon_s, train, cascade(horizon_s))


def qlike_har_five(symbol: Minutes, horizon_s: float, train: Index) -> Array:
    """Forecast by `qlike_har` with five windows from five minutes to a week."""
    return _qlike_har(symbol, horizon_s, train, FIVE_WINDOWS)


def hexp(symbol: Minutes, horizon_s: float, train: Index) -> Array:
    """Forecast by HExp (Bollerslev, Hood, Huss and Pedersen 2018), fitted to QLIKE.

    A mixture of exponentially weighted variances, those of the features, with the daily pattern
    taken out; of ranges where the target is the range.
    """
    columns = _RANGES if symbol.is_range(horizon_s) else _VARIANCES
    level = symbol.scales[:, _LEVEL] * 60
    means = np.exp(symbol.scales[:, columns]) * level
    return _qlike_mixture(symbol, horizon_s, train, means)


def garch(symbol: Minutes, horizon_s: float, train: Index) -> Array:
    """Forecast by a GARCH(1,1) of 1-minute returns, aggregated over the horizon.

    It is fitted by maximum likelihood.
    """
    from arch import arch_model

    ahead = round(horizon_s / 60)
    first = max(int(train[0]), int(train[-1]) - GARCH_MINUTES)
    squares = symbol.variance
    # Its likelihood needs squared returns alone; in basis points it is well conditioned.
    returns = np.sqrt(squares) * 1e4
    fitted = arch_model(
        returns[first : train[-1] + 1], mean="Zero", vol="GARCH", rescale=False
    ).fit(disp="off", show_warning=False)
    omega, alpha, beta = (float(fitted.params[name]) for name in ("omega", "alpha[1]", "beta[1]"))
    # At a persistence of 1 the unconditional variance does not exist.
    persistence = min(alpha + beta, 0.99999)
    unconditional = omega / (1 - persistence)
    from scipy.signal import lfilter

    start = float(np.mean(returns[train] ** 2))
    following, _ = lfilter([1.0], [1, -beta], omega + alpha * returns**2, zi=[beta * start])
    # The expected variance returns to the unconditional one by the persistence a minute.
    summed = (1 - persistence**ahead) / (1 - persistence)
    total = unconditional * ahead + (following - unconditional) * summed
    return np.asarray(np.maximum(total * 1e-8, FLOOR_PER_MINUTE * ahead))


ANCHORS: Final[Mapping[str, Callable[[Minutes, float, Index], Array]]] = {
    "EWMA": ewma,
    "HAR": har,
    "log-HAR": log_har,
    "QLIKE-HAR": qlike_har,
    "QLIKE-HAR-5": qlike_har_five,
    "HExp": hexp,
    "GARCH": garch,
}
# The models of the past's averages that are refitted: the strongest of them is the rival.
HARS: Final = ("HAR", "log-HAR", "QLIKE-HAR", "QLIKE-HAR-5", "HExp")
