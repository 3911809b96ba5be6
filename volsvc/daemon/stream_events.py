"""Publishes gaps, model changes and drift results to event streams, and keeps them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from volsvc.domain import parse_time
from volsvc.pipeline.event_hub import Event, EventHub
from volsvc.serving.holder import ModelEvent
from volsvc.store import KeptEvent, Store

# Fields with the time at which something happened in the market.
_TIMES: Final = ("at", "end")


def publish_gap(hub: EventHub, symbol: str, kind: str, missing: int) -> None:
    """Publish a gap of a feed; an empty symbol stands for a whole connection."""
    hub.publish("gap", symbol or None, {"symbol": symbol, kind: missing})


def publish_model_event(hub: EventHub, event: ModelEvent) -> None:
    """Publish a change of the active model, or a refusal."""
    serving = event.after
    cause = {"kind": event.kind, "trigger": event.trigger, "reason": event.reason}
    model = {"variant": serving.model.variant, "version": serving.model.version}
    before = {"before": event.before.name}
    hub.publish("model", None, {**cause, **model, **before, "fallback": serving.fallback})


def publish_drift(hub: EventHub, result: Mapping[str, Any]) -> None:
    """Publish the result of a drift check."""
    hub.publish("drift", None, result)


def keep_event(store: Store, event: Event, *, commits: bool) -> None:
    """Have a store keep an event as streams have it; `commits` tells if it is told of commits.

    Of changes of the model the audit log is the proof; here they stand beside all else.
    """
    given = dict(event.payload)
    given.pop("symbol", None)
    at = [given.pop(name) for name in _TIMES if name in given]
    time_ns = parse_time(at[0]) if at else time.time_ns()
    kept = KeptEvent(time_ns, event.kind, event.symbol or "", msgspec.json.encode(given))
    store.keep_event(kept, at_once=event.symbol is None or not commits)
