"""`volsvc monitoring`: write the files of Prometheus, Alertmanager and Grafana."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from volsvc.config.base import split_list
from volsvc.monitoring.dashboards import read_dashboards
from volsvc.monitoring.files import write
from volsvc.monitoring.spec import read_spec


@dataclass(frozen=True)
class MonitoringOptions:
    """Options of `volsvc monitoring`; None leaves the key of the file as it is."""

    slo: Path
    out: Path | None
    targets: str | None
    alertmanagers: str | None
    prometheus: str | None
    dashboards_folder: str | None
    key_file: str | None
    page: str | None
    ticket: str | None
    faster: int


def write_monitoring(options: MonitoringOptions) -> None:
    """Write the files and print their paths; raises SpecError."""
    replaced = {
        "targets": split_list(options.targets),
        "alertmanagers": split_list(options.alertmanagers),
        "prometheus": options.prometheus,
        "dashboards_folder": options.dashboards_folder,
        "key_file": options.key_file,
    }
    changes = {name: value for name, value in replaced.items() if value is not None}
    spec = read_spec(options.slo, **changes, faster=options.faster)
    # Receivers are a table of the file: one that is given leaves the other.
    webhooks = {"page": options.page, "ticket": options.ticket}
    given = {name: url for name, url in webhooks.items() if url is not None}
    spec = spec.model_copy(update={"receivers": {**spec.receivers, **given}})
    dashboards = read_dashboards(options.slo.with_name("dashboards.yaml"))
    for path in write(spec, dashboards, options.out or options.slo.parent):
        print(path)
