"""Routes events of the models to logs, metrics, health and the audit log."""

from __future__ import annotations

import time

from volsvc.serving.audit_log import AuditLog
from volsvc.serving.holder import ModelEvent
from volsvc.serving.model_choice import Serving
from volsvc.telemetry.health import Health
from volsvc.telemetry.logs import get_logger
from volsvc.telemetry.metrics import Metrics

log = get_logger(__name__)


class ModelListener:
    """Records changes of the active model, and the outcome of polls of the registry.

    A listener of `ModelHolder`, and a `RegistryListener`.
    """

    def __init__(self, metrics: Metrics, health: Health, audit_log: AuditLog | None) -> None:
        self._metrics = metrics
        self._health = health
        self._audit_log = audit_log
        self._unwritten = False

    def __call__(self, event: ModelEvent) -> None:
        """Record an event."""
        refused = event.kind == "refused"
        if event.kind not in ("start", "stop"):
            result = "refused" if refused else "ok"
            self._metrics.model.swaps.labels(event.trigger, result).inc()
        log_event = log.warning if refused or event.kind == "fallback" else log.info
        log_event(
            f"model_{event.kind}",
            trigger=event.trigger,
            reason=event.reason,
            serves=event.after.name,
            before=event.before.name,
        )
        self._report(event.after)
        self._append(event)

    def _report(self, serving: Serving) -> None:
        model = serving.model
        self._metrics.model.set_active(model.variant, model.version, fallback=serving.fallback)
        detail = f"{serving.name} serves"
        if serving.fallback:
            detail += f": {serving.fallback_reason}"
        self._health.report("model", "degraded" if serving.fallback else "ok", detail)

    def _append(self, event: ModelEvent) -> None:
        if self._audit_log is None:
            return
        model = event.after.model
        facts = {
            "kind": event.kind,
            "trigger": event.trigger,
            "reason": event.reason,
            "model": event.after.name,
            "variant": model.variant,
            "version": model.version,
            "digest": model.digest,
            "requested": event.after.requested,
            "fallback": event.after.fallback,
            "previous": event.before.name,
        }
        try:
            self._audit_log.append(time.time_ns(), facts)
        except OSError as error:
            # Serving goes on without the record.
            self._metrics.model.journal_errors.inc()
            log.warning("journal_not_written", reason=str(error))
            self._report_unwritten(self._audit_log, error)
        else:
            self._report_written(self._audit_log)

    def _report_unwritten(self, audit_log: AuditLog, error: OSError) -> None:
        self._unwritten = True
        detail = f"cannot be written: {error.strerror}; entries waiting: {audit_log.waiting}"
        self._health.report("journal", "degraded", detail + _lost(audit_log))

    def _report_written(self, audit_log: AuditLog) -> None:
        if self._unwritten:
            self._unwritten = False
            self._health.report("journal", "ok", f"is written again{_lost(audit_log)}")

    def postponed(self, trigger: str, reason: str, delay_s: float) -> None:
        """Report a version without a verdict, which is tried again after the delay."""
        self._metrics.model.swaps.labels(trigger, "postponed").inc()
        log.warning("model_postponed", trigger=trigger, reason=reason, delay_s=round(delay_s, 1))

    def polled(self, reason: str, *, is_open: bool) -> None:
        """Report the end of a poll; `reason` is not empty if the registry did not answer.

        Entries of the audit log that wait for the disk are tried again, since polls go on for as
        long as the daemon runs.
        """
        if self._unwritten and self._audit_log is not None:
            try:
                self._audit_log.flush()
            except OSError as error:
                self._report_unwritten(self._audit_log, error)
            else:
                self._report_written(self._audit_log)
        self._metrics.model.registry_polls.labels("failed" if reason else "ok").inc()
        self._metrics.model.registry_open.set(is_open)
        if not reason:
            self._health.report("registry:poll", "ok", "the registry answers")
        elif self._health.report("registry:poll", "degraded", reason):
            log.warning("registry_away", reason=reason)


def _lost(audit_log: AuditLog) -> str:
    return f"; entries lost: {audit_log.lost}" if audit_log.lost else ""
