"""The answer of /drift."""

from __future__ import annotations

from typing import Any, Literal

from volsvc.web.schemas.base import Answer, Time


class FeatureDriftRow(Answer):
    """One feature; distances and p-value are null where it is not judged.

    `shift` is how far the median moved, in interquartile ranges of the reference.
    """

    feature: str
    verdict: Literal["ok", "drift", "constant", "too_few", "unknown"]
    ks: float | None
    psi: float | None
    p_value: float | None
    shift: float | None
    missing: float


class FeedCounts(Answer):
    """What the feed of a symbol had, since it was first seen."""

    symbol: str
    gaps: int
    duplicates: int
    late: int
    verdict: str


class DriftCheck(Answer):
    """One window of event time; a feature drifts when its p-value is below `level`."""

    start: Time
    end: Time
    rows: int
    length: int
    level: float
    drifted: list[str]
    features: list[FeatureDriftRow]
    data_quality: list[FeedCounts]


class Gathered(Answer):
    """Rows for the next check; `length` are those of the symbol that has most."""

    rows: int
    length: int


class DriftResponse(Answer):
    """The newest check of drift, null before the first; all but `enabled` only where it runs."""

    ts: Time
    enabled: bool
    reference: dict[str, Any] | None = None
    interval_s: float | None = None
    false_alarms_per_week: float | None = None
    gathered: Gathered | None = None
    last: DriftCheck | None = None
    report: bool = False
