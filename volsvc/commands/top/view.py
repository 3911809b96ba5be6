"""Rendering of a daemon's answers as tables for a terminal. No I/O and no clock."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from volsvc.commands.top.objectives import OBJECTIVES, ObjectiveInputs, samples_of, total

Fields = Mapping[str, Any]

# Least score, name and bar. The score is the probability that volatility will be above its usual
# 90 % quantile. The live page has the same limits (static/page/format.js).
REGIMES: Final = ((0.5, "turbulent", "▇"), (0.25, "raised", "▅"), (0.05, "usual", "▃"))
CALM: Final = ("calm", "▁")
STYLES: Final = {"turbulent": "bold red", "raised": "yellow", "usual": "", "calm": "dim"}
NO_VALUE: Final = "-"
SIGMA: Final = "\N{GREEK SMALL LETTER SIGMA}"
SPARK: Final = "▁▂▃▄▅▆▇█"
SPARK_POINTS: Final = 24
# Changes of the active model that are listed.
CHANGES: Final = 4
SORTS: Final = ("symbol", "price", "sigma", "score", "age")


@dataclass(slots=True)
class DaemonSnapshot:
    """The newest answers of a daemon; empty until the first.

    `lost_s` counts the seconds without an answer, and is None while the daemon answers.
    """

    url: str
    latest: Sequence[Fields] = ()
    prices: dict[str, list[float]] = field(default_factory=dict)
    models: Fields = field(default_factory=dict)
    quality: Fields = field(default_factory=dict)
    health: Fields = field(default_factory=dict)
    drift: Fields = field(default_factory=dict)
    changes: Sequence[Fields] = ()
    metrics: str = ""
    error: str = ""
    lost_s: float | None = None

    def update_latest(self, symbols: Sequence[Fields]) -> None:
        """Replace the forecasts, and append each price to the symbol's sparkline."""
        self.latest = symbols
        kept = {s["symbol"]: [*self.prices.get(s["symbol"], []), s["price"]] for s in symbols}
        self.prices = {name: prices[-SPARK_POINTS:] for name, prices in kept.items()}


@dataclass(frozen=True, slots=True)
class ViewOptions:
    """Order and number of rows, and the horizon of score and regime (None: the daemon's)."""

    sort: str = "symbol"
    horizon_s: float | None = None
    rows: int = 40


def regime_of(score: float) -> tuple[str, str]:
    """Return the name of a score's regime, and the bar that stands for it."""
    return next(((name, bar) for least, name, bar in REGIMES if score >= least), CALM)


def horizon_name(seconds: float) -> str:
    """Return seconds as `1 min` or `1 h`."""
    size, unit = (3600, "h") if seconds % 3600 == 0 else (60, "min")
    return f"{seconds / size:g} {unit}" if seconds % size == 0 else f"{seconds:g} s"


def sparkline(prices: Sequence[float]) -> str:
    """Return prices as a line of bars, scaled from their lowest to their highest."""
    if len(prices) < 2:
        return ""
    low, high = min(prices), max(prices)
    # A constant price has no range: its bars are all at the bottom.
    steps = (high - low) or 1.0
    return "".join(SPARK[round((p - low) / steps * (len(SPARK) - 1))] for p in prices)


def price_text(price: float) -> str:
    """Return a price with two decimals if it is large, and more if it is small."""
    digits = 2 if abs(price) >= 100 else min(10, max(2, 4 - math.floor(math.log10(price or 1))))
    return f"{price:,.{digits}f}"


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share in percent, or a dash for None."""
    return NO_VALUE if share is None else f"{share * 100:,.{digits}f} %"


def age_text(seconds: float) -> str:
    """Return seconds as whole seconds, minutes or hours."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def render(snapshot: DaemonSnapshot, options: ViewOptions) -> RenderableType:
    """Return the whole view."""
    below = Table.grid(padding=(0, 4))
    below.add_row(_quality_table(snapshot), _objectives(snapshot), _service(snapshot))
    return Group(_header(snapshot), "", _markets(snapshot, options), "", below)


def _header(snapshot: DaemonSnapshot) -> Text:
    header = Text.assemble(("volsvc", "bold"), f"  {snapshot.url}  ")
    if snapshot.lost_s is not None:
        return header.append(
            f"no connection for {age_text(snapshot.lost_s)}: {snapshot.error}", "bold red"
        )
    stale = bool(snapshot.latest) and all(s["stale"] for s in snapshot.latest)
    header.append("stale" if stale else "live", "bold red" if stale else "bold green")
    serving = snapshot.models.get("serving")
    if serving:
        text = f"{serving['model']} serves"
        if serving["fallback"]:
            text += f" in place of {serving['requested']}: {serving['reason']}"
        header.append(f"  {text}", "red" if serving["fallback"] else "")
    status = snapshot.health.get("status", "")
    return header.append(f"  {status}", "green" if status == "ok" else "bold red")


# --- markets ------------------------------------------------------------------------------


def _markets(snapshot: DaemonSnapshot, options: ViewOptions) -> RenderableType:
    if not snapshot.latest:
        return Text("waiting for the first forecast…", "dim")
    horizons = [p["horizon_s"] for p in snapshot.latest[0]["predictions"]]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("Symbol", no_wrap=True)
    table.add_column("Price", justify="right", no_wrap=True)
    table.add_column("Recent", width=SPARK_POINTS, no_wrap=True)
    for horizon in horizons:
        table.add_column(f"{SIGMA} {horizon_name(horizon)}", justify="right", no_wrap=True)
    for name in ("Spike", "Regime", "Age", "Quality"):
        table.add_column(name, justify="right" if name in ("Spike", "Age") else "left")
    ordered = sorted(snapshot.latest, key=lambda s: _rank(s, options))
    for latest in ordered[: options.rows]:
        table.add_row(*_market(latest, snapshot, options), style="dim" if latest["stale"] else "")
    left = len(ordered) - options.rows
    return Group(table, Text(f"… and {left} more", "dim")) if left > 0 else table


def _market(latest: Fields, snapshot: DaemonSnapshot, options: ViewOptions) -> list[RenderableType]:
    score = _score(latest, options)
    stale = " stale" if latest["stale"] else ""
    return [
        Text(latest["symbol"], "bold"),
        price_text(latest["price"]),
        Text(sparkline(snapshot.prices.get(latest["symbol"], ())), "blue"),
        *(percent(p["sigma_annualised"]) for p in latest["predictions"]),
        percent(score, 0),
        _regime(score, latest["quality"]["verdict"]),
        Text(age_text(latest["age_s"]) + stale, "red" if stale else ""),
        _data_quality(latest["quality"]),
    ]


def _regime(score: float, verdict: str) -> Text:
    # Of a symbol that is cold a score says nothing yet.
    if verdict == "cold":
        return Text(NO_VALUE)
    name, bar = regime_of(score)
    return Text(f"{bar} {name}", STYLES[name])


def _data_quality(quality: Fields) -> str:
    kinds = ("gaps", "duplicates", "late", "future", "bad_prints")
    counts = [f"{quality[kind]} {kind.replace('_', ' ')}" for kind in kinds if quality[kind]]
    return ", ".join([quality["verdict"], *counts])


def _score(latest: Fields, options: ViewOptions) -> float:
    """Return the probability of a spike at the chosen horizon, or at the daemon's."""
    scores = [p["score"] for p in latest["predictions"] if p["horizon_s"] == options.horizon_s]
    return float(scores[0] if scores else latest["score"])


def _rank(latest: Fields, options: ViewOptions) -> tuple[float, str]:
    """Return the key that sorts by the chosen column, greatest first, and then by name."""
    values = {
        "price": latest["price"],
        "sigma": latest["predictions"][0]["sigma_annualised"],
        "score": _score(latest, options),
        "age": latest["age_s"],
    }
    return -values.get(options.sort, 0.0), latest["symbol"]


# --- tables below the markets ----------------------------------------------------------------


def _small_table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for index, name in enumerate(columns):
        table.add_column(name, justify="right" if index else "left", header_style="dim")
    return table


def _quality_table(snapshot: DaemonSnapshot) -> Table:
    """Return the scores of matured forecasts over all symbols, by horizon."""
    table = _small_table("How forecasts did", "Ahead", "In band", "QLIKE ml", "base", "Skill", "n")
    rows = {(r["horizon_s"], r["variant"]): r for r in snapshot.quality.get("scores", ())}
    serving = snapshot.models.get("serving", {}).get("variant", "ml")
    for horizon in sorted({horizon for horizon, _ in rows}):
        ml, base = rows.get((horizon, "ml")), rows.get((horizon, "baseline"))
        # The coverage of the active variant; of another one while that has no matured forecast.
        shown = rows.get((horizon, serving)) or ml or base or {}
        table.add_row(
            horizon_name(horizon),
            percent(shown["coverage"], 0),
            f"{ml['qlike']:.3f}" if ml else NO_VALUE,
            f"{base['qlike']:.3f}" if base else NO_VALUE,
            percent(ml["skill"] if ml else None, 0),
            f"{shown['n']:,}",
        )
    if not rows:
        table.add_row(Text("none has matured", "dim"))
    return table


def _objectives(snapshot: DaemonSnapshot) -> Table:
    """Return the objectives with the shares that were reached since the daemon's start."""
    table = _small_table("Objectives", "since the start", "promise", "kept", "")
    serving = snapshot.models.get("serving", {}).get("variant", "")
    scores = snapshot.quality.get("symbols", ())
    inputs = ObjectiveInputs(samples_of(snapshot.metrics), snapshot.latest, scores, serving)
    for name, objective, share_of in OBJECTIVES:
        share = share_of(inputs)
        state = "no data" if share is None else "kept" if share >= objective else "missed"
        style = {"kept": "green", "missed": "bold red"}.get(state, "dim")
        # Rounded down, so that a missed objective never looks like a kept one.
        shown = percent(None if share is None else math.floor(share * 1e4) / 1e4, 2)
        table.add_row(name, f"{objective * 100:g} %", shown, Text(state, style))
    return table


def _service(snapshot: DaemonSnapshot) -> Table:
    """Return the parts that are not ok, ticks, bus, drift, and the newest changes of the model."""
    table = _small_table("Service", "", "")
    table.columns[1].justify = "left"
    for name, check in snapshot.health.get("checks", {}).items():
        if check["status"] != "ok":
            table.add_row(Text(name, "red"), f"{check['status']}: {check['detail']}")
    samples = samples_of(snapshot.metrics)
    ticks, rejected = (total(samples, f"volsvc_ticks{k}_total") for k in ("", "_rejected"))
    lag = total(samples, "volsvc_kafka_consumer_lag_records")
    table.add_row("ticks", f"{ticks or 0:,.0f} accepted, {rejected or 0:,.0f} rejected")
    table.add_row("bus", "in process" if lag is None else f"{lag:,.0f} records behind")
    table.add_row("drift", _drift(snapshot.drift))
    for entry in snapshot.changes[:CHANGES]:
        text = f"{entry['kind']} {entry['model']} ({entry['trigger']}) {entry['reason']}"
        table.add_row(Text(entry["time"][5:16].replace("T", " "), "dim"), text.strip())
    return table


def _drift(drift: Fields) -> str:
    if not drift.get("enabled"):
        return "not checked here"
    last = drift["last"]
    if last is None:
        return f"no window judged yet, {drift['gathered']['rows']:,} rows gathered"
    return f"{', '.join(last['drifted']) or 'none'} in the window to {last['end'][:16]}"
