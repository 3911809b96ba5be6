"""The configuration of Alertmanager."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from volsvc.monitoring.spec import Spec


def alertmanager_config(spec: Spec) -> Mapping[str, Any]:
    """Return Alertmanager's configuration: routes by severity, inhibitions and receivers.

    Pages are sent at once and repeated each hour, tickets once a day.
    """
    return {
        "route": {
            "receiver": "ticket",
            "group_by": ["alertname", "slo", "symbol"],
            "group_wait": spec.duration("30s"),
            "group_interval": spec.duration("5m"),
            "repeat_interval": spec.duration("24h"),
            # All that is not a page goes to the ticket, so that no alert lacks a receiver.
            "routes": [
                {
                    "receiver": "page",
                    "matchers": ['severity="page"'],
                    "group_wait": spec.duration("10s"),
                    "repeat_interval": spec.duration("1h"),
                }
            ],
        },
        "inhibit_rules": [
            {
                "source_matchers": [f'alertname=~"{"|".join(rule.by)}"'],
                "target_matchers": [
                    f'alertname=~"{"|".join(rule.quiet)}"',
                    # An alert that matches both sides must not inhibit itself.
                    f'alertname!~"{"|".join(rule.by)}"',
                ],
                "equal": [*rule.equal],
            }
            for rule in spec.inhibitions
        ],
        "receivers": [
            {"name": name, "webhook_configs": [{"url": url, "send_resolved": True}]}
            for name, url in spec.receivers.items()
        ],
    }
