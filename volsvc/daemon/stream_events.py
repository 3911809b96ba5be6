"""Publishes gaps, model changes and drift results to event streams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from volsvc.pipeline.event_hub import EventHub
from volsvc.serving.holder import ModelEvent


def publish_gap(hub: EventHub, symbol: str, kind: str, missing: int) -> None:
    """Publish a gap of a feed; an empty symbol stands for a whole connection."""
    hub.publish("gap", symbol or None, {"symbol": symbol, kind: missing})


def publish_model_event(hub: EventHub, event: ModelEvent) -> None:
    """Publish a change of the active model, or a refusal."""
    serving = event.after
    cause = {"kind": event.kind, "trigger": event.trigger, "reason": event.reason}
    model = {"variant": serving.model.variant, "version": serving.model.version}
    hub.publish("model", None, {**cause, **model, "fallback": serving.fallback})


def publish_drift(hub: EventHub, result: Mapping[str, Any]) -> None:
    """Publish the result of a drift check."""
    hub.publish("drift", None, result)
