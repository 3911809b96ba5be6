"""The configuration and the rules of Prometheus.

Alerts on burn rates follow chapter 5 of Google's "The Site Reliability Workbook" (2018). Recorded
series have the names and labels of Sloth, so that its dashboards show them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from volsvc.monitoring.spec import Alert, Burn, Objective, Severity, Spec, seconds

Rule = Mapping[str, Any]

FAST, SLOW = "VolsvcErrorBudgetFastBurn", "VolsvcErrorBudgetSlowBurn"
_TITLES: Final[Mapping[Severity, str]] = {"page": FAST, "ticket": SLOW}
_PACES: Final[Mapping[Severity, str]] = {"page": "fast", "ticket": "steadily"}


def prometheus_config(spec: Spec, rules_file: str) -> Mapping[str, Any]:
    """Return Prometheus' configuration: targets, rules and Alertmanagers."""
    interval = spec.duration(spec.scrape_interval)
    key = {"authorization": {"credentials_file": spec.key_file}} if spec.key_file else {}
    return {
        "global": {"scrape_interval": interval, "evaluation_interval": interval},
        "rule_files": [rules_file],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [*spec.alertmanagers]}]}]},
        "scrape_configs": [
            {
                "job_name": spec.job,
                # Prometheus refuses a timeout that is longer than the interval.
                "scrape_timeout": interval if seconds(interval) < 10 else "10s",
                "static_configs": [{"targets": [*spec.targets]}],
                **key,
            }
        ],
    }


def rules(spec: Spec) -> Mapping[str, Any]:
    """Return every rule: those of the objectives, then the other alerts."""
    groups = [
        {"name": f"volsvc-slo-{objective.name}", "rules": _objective_rules(spec, objective)}
        for objective in spec.objectives
    ]
    groups.append({"name": "volsvc-alerts", "rules": [_alert(spec, a) for a in spec.alerts]})
    return {"groups": groups}


def prometheus_rule(spec: Spec) -> Mapping[str, Any]:
    """Return the rules as a resource of the Prometheus operator for Kubernetes."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": spec.job},
        "spec": rules(spec),
    }


def _objective_rules(spec: Spec, objective: Objective) -> list[Rule]:
    return [
        *_error_ratios(spec, objective),
        *_budget(spec, objective),
        *_burn_alerts(spec, objective),
    ]


def _labels(spec: Spec, objective: Objective) -> dict[str, str]:
    return {
        "sloth_id": f"{spec.job}-{objective.name}",
        "sloth_service": spec.job,
        "sloth_slo": objective.name,
    }


def _error_ratios(spec: Spec, objective: Objective) -> Iterable[Rule]:
    """Yield the share of bad events in each window; absent, without an alert, if none happened."""
    current = f"volsvc:{objective.name.replace('-', '_')}_error:ratio"
    if objective.gauge is not None:
        yield {"record": current, "expr": spec.expression(objective.gauge)}
    for window in map(spec.duration, spec.windows()):
        if objective.gauge is not None:
            expr = f"avg_over_time({current}[{window}])"
        else:
            errors, total = (_over(spec, q, window) for q in (objective.errors, objective.total))
            # Without an error there is no series of errors; without traffic there is no ratio.
            expr = f"({errors} or vector(0)) / ({total} > 0)"
        labels = {**_labels(spec, objective), "sloth_window": window}
        yield {"record": _ratio(window), "expr": expr, "labels": labels}


def _ratio(window: str) -> str:
    return f"slo:sli_error:ratio_rate{window}"


def _over(spec: Spec, query: str | None, window: str) -> str:
    return f"({spec.expression(query or '').replace('$window', window)})"


def _budget(spec: Spec, objective: Objective) -> Iterable[Rule]:
    labels, budget = _labels(spec, objective), objective.budget
    short, period = spec.duration(spec.windows()[0]), spec.duration(spec.period)
    of_slo = f'{{sloth_id="{labels["sloth_id"]}"}}'
    # The mean of the shortest window over the period, as Sloth has it: a query over 30 days of
    # requests would be slow.
    over = f"{_ratio(short)}{of_slo}[{period}]"
    mean = f"sum_over_time({over}) / count_over_time({over})"
    texts = {
        "slo:objective:ratio": f"vector({objective.objective})",
        "slo:error_budget:ratio": f"vector({budget})",
        "slo:time_period:days": f"vector({seconds(period) / 86_400:g})",
        _ratio(period): f"{mean}",
        "slo:current_burn_rate:ratio": f"{_ratio(short)}{of_slo} / {budget}",
        "slo:period_burn_rate:ratio": f"{_ratio(period)}{of_slo} / {budget}",
        "slo:period_error_budget_remaining:ratio": f"1 - slo:period_burn_rate:ratio{of_slo}",
    }
    for name, expr in texts.items():
        window = {"sloth_window": period} if name == _ratio(period) else {}
        yield {"record": name, "expr": expr, "labels": {**labels, **window}}


def _burn_alerts(spec: Spec, objective: Objective) -> Iterable[Rule]:
    by_severity: Mapping[Severity, Sequence[Burn]] = {
        "page": spec.burns.page,
        "ticket": spec.burns.ticket,
    }
    for severity, burns in by_severity.items():
        # A burn that needs more than every event to be bad can never fire.
        possible = [burn for burn in burns if burn.rate * objective.budget < 1]
        if not possible:
            continue
        routed: Severity = severity if objective.page else "ticket"
        yield {
            "alert": _TITLES[severity],
            "expr": " or ".join(_burn_expression(spec, objective, burn) for burn in possible),
            "labels": {"severity": routed, "slo": objective.name},
            "annotations": {
                "summary": f"{objective.name} spends its error budget {_PACES[severity]}",
                "description": f"{objective.description}: {{{{ $value | humanizePercentage }}}} "
                f"bad, {objective.budget:.4g} of all allowed",
                "runbook_url": f"{spec.runbook}#{_TITLES[severity].lower()}",
            },
        }


def _burn_expression(spec: Spec, objective: Objective, burn: Burn) -> str:
    of_slo = f'{{sloth_id="{spec.job}-{objective.name}"}}'
    limit = f"({burn.rate:g} * {objective.budget:g})"
    short, long = spec.duration(burn.short), spec.duration(burn.long)
    # The long window shows that the loss is large, the short one that it goes on. `max without`
    # removes the label in which the two differ, by which `and` would match nothing.
    conditions = [
        f"max without (sloth_window) ({_ratio(w)}{of_slo} > {limit})" for w in (short, long)
    ]
    if objective.total is not None and spec.least_requests:
        # One failure of three requests is no outage. `on ()`, as the sum of requests has no label.
        requests = f"{_over(spec, objective.total, long)} * {seconds(long)}"
        conditions.append(f"on () ({requests} >= {spec.least_requests})")
    return f"({' and '.join(conditions)})"


def _alert(spec: Spec, alert: Alert) -> Rule:
    wait = {"for": spec.duration(alert.wait)} if alert.wait is not None else {}
    return {
        "alert": alert.alert,
        "expr": spec.expression(alert.expr),
        **wait,
        "labels": {"severity": alert.severity},
        "annotations": {
            "summary": alert.summary,
            "runbook_url": f"{spec.runbook}#{alert.alert.lower()}",
        },
    }
