"""Schemas of the past that the store keeps."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from volsvc.web.schemas.base import Answer, Time

_NEXT = Field(description="`start` of the next page; null after the last one")


class MinuteRow(Answer):
    """A minute of a symbol, or a longer step; of its fields those that were asked for.

    `time` is its end. Features and forecasts are those at the end of its last minute with trades:
    `sigma_3600s`, `lo_3600s`, `hi_3600s`, `threshold_3600s` and `score_3600s` of the serving model
    over the next hour, `shadow_sigma_3600s` of the other one, and `realised_3600s` what came, null
    until it is known. `minutes` is the number of minutes with trades. Ticks are missing before one
    of them if `gap`; one was watched in part only if `partial`.
    """

    time: Time
    open: float | None = None
    high: float | None = None
    low: float | None = None
    close: float | None = None
    volume: float | None = None
    ticks: int | None = None
    minutes: int | None = None
    ret_mean: float | None = None
    ret_std: float | None = None
    n: int | None = None
    realised: float | None = None
    sigma_60s: float | None = None
    lo_60s: float | None = None
    hi_60s: float | None = None
    threshold_60s: float | None = None
    score_60s: float | None = None
    shadow_sigma_60s: float | None = None
    realised_60s: float | None = None
    sigma_300s: float | None = None
    lo_300s: float | None = None
    hi_300s: float | None = None
    threshold_300s: float | None = None
    score_300s: float | None = None
    shadow_sigma_300s: float | None = None
    realised_300s: float | None = None
    sigma_900s: float | None = None
    lo_900s: float | None = None
    hi_900s: float | None = None
    threshold_900s: float | None = None
    score_900s: float | None = None
    shadow_sigma_900s: float | None = None
    realised_900s: float | None = None
    sigma_3600s: float | None = None
    lo_3600s: float | None = None
    hi_3600s: float | None = None
    threshold_3600s: float | None = None
    score_3600s: float | None = None
    shadow_sigma_3600s: float | None = None
    realised_3600s: float | None = None
    model_variant: str | None = None
    version: str | None = None
    shadow_variant: str | None = None
    shadow_version: str | None = None
    gap: bool | None = None
    partial: bool | None = None


class MinutesResponse(Answer):
    """The minutes of a symbol, or longer steps, oldest first; those without trades have no row."""

    symbol: str
    step_s: int
    next: Time | None = _NEXT
    rows: list[MinuteRow]


class OutcomeRow(Answer):
    """A matured forecast with the realised volatility, per sqrt(horizon_s), and its losses.

    Of the model that did not serve, only `sigma` was kept.
    """

    issued: Time
    matured: Time
    horizon_s: float
    model_variant: str
    version: str
    sigma: float
    lo: float | None
    hi: float | None
    threshold: float | None
    score: float | None
    realised: float
    qlike: float
    covered: bool | None
    brier: float | None


class OutcomesResponse(Answer):
    """The matured forecasts of a symbol, in the order in which they were issued."""

    symbol: str
    next: Time | None = _NEXT
    rows: list[OutcomeRow]


class EventRow(Answer):
    """An event of a symbol, or of the service; `fields` are those of its kind in GET /stream.

    `time` is that of the market for gaps and drift, else that of the clock.
    """

    time: Time
    kind: str
    symbol: str | None
    fields: dict[str, Any]


class EventsResponse(Answer):
    """Events, oldest first."""

    next: Time | None = _NEXT
    rows: list[EventRow]


class MeanLoss(Answer):
    """The mean of a loss over `n` forecasts."""

    n: int
    mean: float | None


class RecordRow(Answer):
    """Scores of forecasts that matured in some time.

    Of what was served: the number `n`, `coverage` of the intervals and the Brier score. `qlike`
    compares models on the forecasts that all of them made.
    """

    n: int
    qlike: dict[str, MeanLoss]
    coverage: float | None
    brier: float | None


class RecordDay(RecordRow):
    """The scores of a UTC day."""

    day: str


class ReliabilityBin(Answer):
    """The scores between `lo` and `hi`: their number and mean, and the frequency of spikes."""

    lo: float
    hi: float
    n: int
    score: float | None
    spikes: float | None


class HorizonRecord(Answer):
    """The record at one horizon.

    `ewma` is a flat forecast by an EWMA of the variances of minutes. Its half-life is the best of a
    few over all these days, in hindsight, which no forecaster has.
    """

    horizon_s: float
    ewma_half_life_s: float
    total: RecordRow
    days: list[RecordDay]
    reliability: list[ReliabilityBin]


class TrackRecordResponse(Answer):
    """The record of the models by UTC day, of one symbol or of all together."""

    ts: Time
    symbols: list[str]
    days: int
    horizons: list[HorizonRecord]
