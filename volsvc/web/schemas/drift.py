"""Schemas of GET /drift."""

from __future__ import annotations

from typing import Any, Literal

from volsvc.web.schemas.base import Answer, Time


class FeatureDriftRow(Answer):
    """The drift of one feature; distances and p-value are null if it is not tested.

    `shift` is the shift of the median, in interquartile ranges of the reference.
    """

    feature: str
    verdict: Literal["ok", "drift", "constant", "too_few", "unknown"]
    ks: float | None
    psi: float | None
    p_value: float | None
    shift: float | None
    missing: float


class FeedCounts(Answer):
    """Counts of a symbol's feed since the symbol was first seen."""

    symbol: str
    gaps: int
    duplicates: int
    late: int
    verdict: str


class DriftCheck(Answer):
    """The check of one window of event time; a feature drifts if its p-value is below `level`."""

    start: Time
    end: Time
    rows: int
    length: int
    level: float
    drifted: list[str]
    features: list[FeatureDriftRow]
    data_quality: list[FeedCounts]


class Gathered(Answer):
    """Rows gathered for the next check; `length` is the largest number of one symbol."""

    rows: int
    length: int


class DriftResponse(Answer):
    """The newest drift check, null before the first.

    Instances that do not check drift answer `ts` and `enabled` alone.
    """

    ts: Time
    enabled: bool
    reference: dict[str, Any] | None = None
    interval_s: float | None = None
    false_alarms_per_week: float | None = None
    gathered: Gathered | None = None
    last: DriftCheck | None = None
    report: bool = False
