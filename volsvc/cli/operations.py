"""The commands that watch over the service: drift, doctor, monitoring."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from volsvc.cli.options import ConfigFile, Url
from volsvc.config.base import split_list
from volsvc.config.settings import SettingsError, load_settings
from volsvc.telemetry.logs import configure_logs

watch = typer.Typer()


@watch.command()
def drift(
    reference: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="<path>",
            help="recordings, or a saved reference (.npz); default: the packaged one",
        ),
    ] = None,
    current: Annotated[
        list[Path] | None,
        typer.Option(metavar="<path>", help="recording of bars or ticks, or a folder"),
    ] = None,
    config: ConfigFile = None,
    start: Annotated[
        str | None, typer.Option(help="date; the reference's bars from then on")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="report to write (.html, and .json)")] = None,
    save_reference: Annotated[Path | None, typer.Option(help="reference to write (.npz)")] = None,
    summary: Annotated[Path | None, typer.Option(help="table of days to write (.md)")] = None,
) -> None:
    """Say how recordings differ from a reference.

    By feature and score: from the rows that the model was fitted on, or from others.
    """
    from volsvc.commands.drift import DriftOptions
    from volsvc.commands.drift import drift as compare

    if not current and save_reference is None:
        raise SettingsError("--current: name recordings to compare, or --save-reference a file")
    settings = load_settings(config)
    configure_logs("warning", "console")
    compare(
        settings,
        DriftOptions(reference or [], current or [], start, out, save_reference, summary),
    )


@watch.command()
def doctor(
    config: ConfigFile = None,
    url: Url = None,
) -> None:
    """Say what is wrong, and how to put it right.

    Looks at everything that the service needs.
    """
    from volsvc.commands.doctor import examine

    configure_logs("error", "console")
    faults = 0
    for finding in examine(config, url):
        faults += finding.status == "fail"
        remedy = f"\n       {finding.remedy}" if finding.remedy else ""
        print(f"{finding.status:4}  {finding.part}: {finding.detail}{remedy}")
    if faults:
        sys.exit(1)


@watch.command()
def top(
    config: ConfigFile = None,
    url: Url = None,
    key_file: Annotated[
        Path | None, typer.Option(help="file that holds a key of scope read")
    ] = None,
    symbols: Annotated[str, typer.Option(help="only these, with commas; default: all")] = "",
    sort: Annotated[str, typer.Option(help="symbol, price, sigma, score or age")] = "symbol",
    horizon: Annotated[
        float | None, typer.Option(min=1, help="seconds ahead of spike and regime")
    ] = None,
    every: Annotated[float, typer.Option(min=0.1, max=3600, help="seconds between looks")] = 1.0,
    once: Annotated[bool, typer.Option(help="look once, print, and exit")] = False,
) -> None:
    """Show the live page's facts in the terminal."""
    from volsvc.commands.top.watcher import TopOptions, run_top

    settings = load_settings(config)
    configure_logs("error", "console")
    names = tuple(name.strip() for name in symbols.split(",") if name.strip())
    run_top(settings, TopOptions(url, key_file, names, sort, horizon, every, once))


@watch.command()
def monitoring(
    slo: Annotated[Path, typer.Option(help="objectives and alerts, by dashboards.yaml")] = Path(
        "deploy/slo.yaml"
    ),
    out: Annotated[Path | None, typer.Option(help="folder; default: beside the file")] = None,
    targets: Annotated[str | None, typer.Option(help="instances to scrape, with commas")] = None,
    alertmanagers: Annotated[str | None, typer.Option(help="addresses, with commas")] = None,
    prometheus: Annotated[str | None, typer.Option(help="URL that Grafana asks")] = None,
    dashboards_folder: Annotated[
        str | None, typer.Option(help="where Grafana finds grafana/dashboards")
    ] = None,
    key_file: Annotated[str | None, typer.Option(help="file with a key of scope read")] = None,
    page: Annotated[str | None, typer.Option(help="webhook that wakes somebody")] = None,
    ticket: Annotated[str | None, typer.Option(help="webhook for what can wait")] = None,
    faster: Annotated[
        int, typer.Option(min=1, help="divide every duration, to rehearse an alert")
    ] = 1,
) -> None:
    """Write what Prometheus, Alertmanager and Grafana read.

    Each option stands in for the key of its name in the file.
    """
    from volsvc.monitoring.dashboards import read_dashboards
    from volsvc.monitoring.files import write
    from volsvc.monitoring.spec import read_spec

    given = {
        "targets": split_list(targets),
        "alertmanagers": split_list(alertmanagers),
        "prometheus": prometheus,
        "dashboards_folder": dashboards_folder,
        "key_file": key_file,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    spec = read_spec(slo, **changes, faster=faster)
    told = {name: url for name, url in (("page", page), ("ticket", ticket)) if url is not None}
    spec = spec.model_copy(update={"receivers": {**spec.receivers, **told}})
    dashboards = read_dashboards(slo.with_name("dashboards.yaml"))
    for path in write(spec, dashboards, out or slo.parent):
        print(path)
