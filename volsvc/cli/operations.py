"""The commands for operators: warmup, drift, doctor, top, monitoring."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from volsvc.cli.options import ConfigFile, Url, quiet_settings_of
from volsvc.commands.arguments import split_names
from volsvc.config.settings import SettingsError
from volsvc.telemetry.logs import configure_logs

operations = typer.Typer()


@operations.command()
def warmup() -> None:
    """Compile the numerical kernels, once after an installation.

    Fills the cache of machine code, so that no start of the service has to.
    """
    from volsvc.commands.warmup import run_warmup

    # A cache that is damaged or cannot be written is worth a line.
    configure_logs("warning", "console")
    run_warmup()


@operations.command()
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
        typer.Option(metavar="<path>", help="recording of bars or ticks, or a folder of them"),
    ] = None,
    config: ConfigFile = None,
    start: Annotated[
        str | None, typer.Option(help="date or time; use the bars of --reference from then on")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="report to write (.html, and .json beside it)")
    ] = None,
    save_reference: Annotated[Path | None, typer.Option(help="reference to write (.npz)")] = None,
    summary: Annotated[Path | None, typer.Option(help="table of days to write (.md)")] = None,
) -> None:
    """Compare recordings with a drift reference.

    Prints the features and scores whose distribution has changed since the model was fitted.
    """
    from volsvc.commands.drift import DriftOptions
    from volsvc.commands.drift import drift as compare
    from volsvc.sources.recordings.tables.pipes import seekable

    if not current and save_reference is None:
        raise SettingsError("--current: is required without --save-reference")
    settings = quiet_settings_of(config)
    with seekable(reference or []) as known, seekable(current or []) as new:
        compare(settings, DriftOptions(known, new, start, out, save_reference, summary))


@operations.command()
def doctor(config: ConfigFile = None, url: Url = None) -> int:
    """Find faults in the setup, with remedies.

    Checks config, disk, model, drift reference, broker, registry and a running service.
    """
    from volsvc.commands.doctor import run_doctor

    # Not by the settings: an invalid configuration is the first finding.
    configure_logs("error", "console")
    return 0 if run_doctor(config, url) else 1


@operations.command()
def top(
    config: ConfigFile = None,
    url: Url = None,
    key_file: Annotated[Path | None, typer.Option(help="file with a key of scope read")] = None,
    symbols: Annotated[str, typer.Option(help="only these, comma-separated; default: all")] = "",
    sort: Annotated[str, typer.Option(help="symbol, price, sigma, score or age")] = "symbol",
    horizon: Annotated[
        float | None,
        typer.Option(min=1, max=86_400, help="seconds; horizon of the columns Spike and Regime"),
    ] = None,
    every: Annotated[float, typer.Option(min=0.1, max=3600, help="seconds between updates")] = 1.0,
    once: Annotated[bool, typer.Option(help="print once and exit")] = False,
) -> None:
    """Show the live forecasts in the terminal."""
    from volsvc.commands.top.watcher import TopOptions, run_top

    # A warning would tear the screen.
    settings = quiet_settings_of(config, "error")
    options = TopOptions(url, key_file, split_names(symbols), sort, horizon, every, once)
    run_top(settings, options)


@operations.command()
def monitoring(
    slo: Annotated[
        Path, typer.Option(help="objectives and alerts; dashboards.yaml stands beside it")
    ] = Path("deploy/slo.yaml"),
    out: Annotated[
        Path | None, typer.Option(help="folder to write to; default: that of --slo")
    ] = None,
    targets: Annotated[
        str | None, typer.Option(help="instances to scrape, comma-separated")
    ] = None,
    alertmanagers: Annotated[str | None, typer.Option(help="addresses, comma-separated")] = None,
    prometheus: Annotated[str | None, typer.Option(help="URL of Prometheus for Grafana")] = None,
    dashboards_folder: Annotated[
        str | None, typer.Option(help="path of grafana/dashboards on Grafana's machine")
    ] = None,
    key_file: Annotated[str | None, typer.Option(help="file with a key of scope read")] = None,
    page: Annotated[str | None, typer.Option(help="webhook for urgent alerts")] = None,
    ticket: Annotated[str | None, typer.Option(help="webhook for alerts that can wait")] = None,
    faster: Annotated[
        int, typer.Option(min=1, help="divide every duration by this, to rehearse an alert")
    ] = 1,
) -> None:
    """Write the monitoring configuration.

    For Prometheus, Alertmanager and Grafana. An option replaces the key of its name in the file.
    """
    from volsvc.commands.monitoring import MonitoringOptions, write_monitoring

    options = MonitoringOptions(
        slo,
        out,
        targets,
        alertmanagers,
        prometheus,
        dashboards_folder,
        key_file,
        page,
        ticket,
        faster,
    )
    write_monitoring(options)
