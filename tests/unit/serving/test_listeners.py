"""Events of the models in metrics, health, log and audit log."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.unit.serving.test_holder import fitted
from volsvc.domain import NS, parse_time
from volsvc.serving.audit_log import FILE, AuditLog, verify
from volsvc.serving.holder import Kind, ModelEvent
from volsvc.serving.listeners import ModelListener
from volsvc.serving.model_choice import BASELINE, Serving
from volsvc.telemetry.health import Check, Health
from volsvc.telemetry.metrics import Metrics

ONE, TWO = Serving(fitted("1"), "ml"), Serving(fitted("2"), "ml")
FALLBACK = Serving(BASELINE, "ml", "is worse")
EVENTS: Mapping[Kind, ModelEvent] = {
    "start": ModelEvent("start", "start", "", ONE, ONE),
    "swap": ModelEvent("swap", "alias", "version 2", ONE, TWO),
    "rollback": ModelEvent("rollback", "rollback", "back to ml-1", TWO, ONE),
    "fallback": ModelEvent("fallback", "guard", "is worse", ONE, FALLBACK),
    "return": ModelEvent("return", "guard", "is no worse", FALLBACK, ONE),
    "refused": ModelEvent("refused", "route", "is not finite", ONE, ONE),
    "stop": ModelEvent("stop", "stop", "", ONE, ONE),
}


class Daemon:
    """A listener of the models with all that it reports to."""

    def __init__(self, folder: Path, *, audited: bool = True) -> None:
        self.folder = folder
        self.metrics, self.health = Metrics(), Health()
        self.audit_log = AuditLog(folder)
        log = self.audit_log if audited else None
        self.listener = ModelListener(self.metrics, self.health, log)

    def counted(self, name: str) -> dict[tuple[str, ...], float]:
        """Return the samples of a metric of the models that are not 0, by their labels."""
        (metric,) = getattr(self.metrics.model, name).collect()
        return {
            tuple(sample.labels.values()): sample.value
            for sample in metric.samples
            if sample.value and not sample.name.endswith("_created")
        }

    def break_log(self) -> None:
        """Put a folder where the audit log's file should be."""
        (self.folder / FILE).unlink(missing_ok=True)
        (self.folder / FILE).mkdir()

    def mend_log(self) -> None:
        (self.folder / FILE).rmdir()


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    """A daemon that has reported nothing."""
    return Daemon(tmp_path)


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_metrics_and_health_of_an_event(event: ModelEvent, daemon: Daemon) -> None:
    """Changes and refusals are counted by trigger; what serves is shown, with the reason."""
    daemon.listener(event)
    result = {"start": {}, "stop": {}, "refused": {(event.trigger, "refused"): 1.0}}
    assert daemon.counted("swaps") == result.get(event.kind, {(event.trigger, "ok"): 1.0})
    model, fallback = event.after.model, event.after is FALLBACK
    assert daemon.counted("info") == {(model.variant, model.version): 1.0}
    assert daemon.counted("fallback_active") == ({(): 1.0} if fallback else {})
    expected = Check("ok", f"{event.after.name} serves")
    if fallback:
        expected = Check("degraded", "baseline-2 serves: is worse")
    assert daemon.health.checks == {"model": expected}


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_the_log_has_the_facts_of_an_event(event: ModelEvent, daemon: Daemon) -> None:
    """Refusals and fallbacks are warnings, since somebody should look at them."""
    with capture_logs() as logs:
        daemon.listener(event)
    assert logs == [
        {
            "event": f"model_{event.kind}",
            "log_level": "warning" if event.kind in ("refused", "fallback") else "info",
            "trigger": event.trigger,
            "reason": event.reason,
            "serves": event.after.name,
            "before": event.before.name,
        }
    ]


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_the_audit_log_has_the_facts_of_an_event(event: ModelEvent, daemon: Daemon) -> None:
    """Every event is an entry, with what serves then and what served before."""
    before_ns = time.time_ns()
    daemon.listener(event)
    (entry,) = daemon.audit_log.newest(2)
    facts: dict[str, Any] = dict(entry)
    assert {"seq", "prev", "hash"} <= set(facts)
    written_ns = parse_time(facts.pop("time"))
    # Times are written to the millisecond.
    assert before_ns - NS // 1000 <= written_ns <= time.time_ns()
    model = event.after.model
    assert {name: facts[name] for name in facts if name not in ("seq", "prev", "hash")} == {
        "kind": event.kind,
        "trigger": event.trigger,
        "reason": event.reason,
        "model": event.after.name,
        "variant": model.variant,
        "version": model.version,
        "digest": model.digest,
        "requested": "ml",
        "fallback": event.after is FALLBACK,
        "previous": event.before.name,
    }


def test_an_audit_log_that_cannot_be_written(daemon: Daemon) -> None:
    """Serving goes on; health and a metric tell of it until an entry is written again."""
    daemon.break_log()
    with capture_logs() as logs:
        daemon.listener(EVENTS["swap"])
    assert daemon.counted("journal_errors") == {(): 1.0}
    detail = "cannot be written: Is a directory; entries waiting: 1"
    assert daemon.health.checks["journal"] == Check("degraded", detail)
    assert daemon.health.checks["model"] == Check("ok", "ml-2 serves")
    (warning,) = (entry for entry in logs if entry["event"] == "journal_not_written")
    assert warning["log_level"] == "warning"
    assert "Is a directory" in warning["reason"]
    daemon.mend_log()
    daemon.listener(EVENTS["rollback"])
    assert daemon.health.checks["journal"] == Check("ok", "is written again")
    assert daemon.counted("journal_errors") == {(): 1.0}
    kinds = [entry["kind"] for entry in daemon.audit_log.newest(9)]
    assert kinds == ["rollback", "swap"], "the entry that was refused is written first"
    assert verify(daemon.folder) == (1, 2)


def test_refused_entries_are_written_at_the_next_poll(daemon: Daemon) -> None:
    """Nothing else may happen for weeks; until then health tells that they wait."""
    daemon.break_log()
    for kind in ("swap", "rollback"):
        daemon.listener(EVENTS[kind])
    daemon.listener.polled("", is_open=False)
    detail = "cannot be written: Is a directory; entries waiting: 2"
    assert daemon.health.checks["journal"] == Check("degraded", detail)
    daemon.mend_log()
    daemon.listener.polled("away", is_open=False)
    assert daemon.health.checks["journal"] == Check("ok", "is written again")
    assert verify(daemon.folder) == (1, 2)


def test_entries_that_were_lost_are_counted(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only so many wait; the check says how many were lost, also when the log is written again."""
    monkeypatch.setattr("volsvc.serving.audit_log.MAX_WAITING", 2)
    daemon = Daemon(daemon.folder)
    daemon.break_log()
    for kind in ("swap", "rollback", "fallback"):
        daemon.listener(EVENTS[kind])
    assert daemon.health.checks["journal"].detail.endswith("; entries waiting: 2; entries lost: 1")
    daemon.mend_log()
    daemon.listener(EVENTS["return"])
    assert daemon.health.checks["journal"] == Check("ok", "is written again; entries lost: 2")


def test_a_version_without_a_verdict(daemon: Daemon) -> None:
    """An attempt that is tried again is counted apart from refusals, and logged."""
    with capture_logs() as logs:
        daemon.listener.postponed("alias", "version 3 could not be judged", 12.34)
    assert daemon.counted("swaps") == {("alias", "postponed"): 1.0}
    assert logs == [
        {
            "event": "model_postponed",
            "log_level": "warning",
            "trigger": "alias",
            "reason": "version 3 could not be judged",
            "delay_s": 12.3,
        }
    ]


def test_health_is_told_once_that_the_log_is_written_again(daemon: Daemon) -> None:
    """Later entries leave the check to others."""
    daemon.break_log()
    daemon.listener(EVENTS["swap"])
    daemon.mend_log()
    daemon.listener(EVENTS["rollback"])
    daemon.health.report("journal", "degraded", "somebody else's")
    daemon.listener(EVENTS["swap"])
    assert daemon.health.checks["journal"] == Check("degraded", "somebody else's")


def test_a_daemon_without_audit_log(tmp_path: Path) -> None:
    """Everything else is reported."""
    daemon = Daemon(tmp_path, audited=False)
    daemon.listener(EVENTS["swap"])
    assert daemon.health.checks == {"model": Check("ok", "ml-2 serves")}
    assert daemon.counted("journal_errors") == {}
    assert list(tmp_path.iterdir()) == []


def test_polls_of_the_registry(daemon: Daemon) -> None:
    """Every poll is counted; the log tells of the first of several failures."""
    outcomes = [("", False), ("away", False), ("away still", True), ("", False), ("again", False)]
    checks, opened, warned = [], [], []
    for reason, is_open in outcomes:
        with capture_logs() as logs:
            daemon.listener.polled(reason, is_open=is_open)
        checks.append(daemon.health.checks["registry:poll"])
        opened.append(daemon.counted("registry_open"))
        warned.append(logs)
    well = Check("ok", "the registry answers")
    away, still, again = (Check("degraded", reason) for reason in ("away", "away still", "again"))
    assert checks == [well, away, still, well, again]
    assert opened == [{}, {}, {(): 1.0}, {}, {}]
    assert daemon.counted("registry_polls") == {("ok",): 2.0, ("failed",): 3.0}
    warnings = [
        [{"event": "registry_away", "log_level": "warning", "reason": reason}]
        for reason in ("away", "again")
    ]
    assert warned == [[], warnings[0], [], [], warnings[1]]
