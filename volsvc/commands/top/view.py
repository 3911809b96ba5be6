"""What `volsvc top` shows: a daemon's answers as tables for a terminal. No I/O and no clock."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from volsvc.commands.top.objectives import OBJECTIVES, Known, samples_of, total

Fields = Mapping[str, Any]

REGIMES: Final = ((0.5, "turbulent", "▇"), (0.25, "raised", "▅"), (0.05, "usual", "▃"))
# By the probability that volatility will be above its usual 90 % quantile.
CALM: Final = ("calm", "▁")
STYLES: Final = {"turbulent": "bold red", "raised": "yellow", "usual": "", "calm": "dim"}
NONE: Final = "-"
SIGMA: Final = "\N{GREEK SMALL LETTER SIGMA}"
SPARK: Final = "▁▂▃▄▅▆▇█"
SPARK_POINTS: Final = 24
CHANGES: Final = 4
SORTS: Final = ("symbol", "price", "sigma", "score", "age")


@dataclass(slots=True)
class Seen:
    """The newest answers of a daemon; empty until the first. `lost_s` is None while it answers."""

    url: str
    latest: Sequence[Fields] = ()
    prices: dict[str, list[float]] = field(default_factory=dict)
    models: Fields = field(default_factory=dict)
    quality: Fields = field(default_factory=dict)
    health: Fields = field(default_factory=dict)
    drift: Fields = field(default_factory=dict)
    changes: Sequence[Fields] = ()
    metrics: str = ""
    fault: str = ""
    lost_s: float | None = None

    def take_latest(self, symbols: Sequence[Fields]) -> None:
        """Keep the newest answers, and a few prices of each symbol for its line."""
        self.latest = symbols
        kept = {s["symbol"]: [*self.prices.get(s["symbol"], []), s["price"]] for s in symbols}
        self.prices = {name: prices[-SPARK_POINTS:] for name, prices in kept.items()}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to show: the order, the horizon of score and regime (None: the daemon's), rows."""

    sort: str = "symbol"
    horizon_s: float | None = None
    rows: int = 40


def regime_of(score: float) -> tuple[str, str]:
    """The name of a regime, and a bar as high."""
    return next(((name, bar) for least, name, bar in REGIMES if score >= least), CALM)


def horizon_name(seconds: float) -> str:
    """`1 min`, `1 h`."""
    size, unit = (3600, "h") if seconds % 3600 == 0 else (60, "min")
    return f"{seconds / size:g} {unit}" if seconds % size == 0 else f"{seconds:g} s"


def sparkline(prices: Sequence[float]) -> str:
    """Prices as a line of bars."""
    if len(prices) < 2:
        return ""
    low, high = min(prices), max(prices)
    steps = (high - low) or 1.0
    return "".join(SPARK[round((p - low) / steps * (len(SPARK) - 1))] for p in prices)


def price_text(price: float) -> str:
    """Two decimals for large prices, more for small ones."""
    digits = 2 if abs(price) >= 100 else min(10, max(2, 4 - math.floor(math.log10(price or 1))))
    return f"{price:,.{digits}f}"


def percent(share: float | None, digits: int = 1) -> str:
    """A share in percent; a dash where there is none."""
    return NONE if share is None else f"{share * 100:,.{digits}f} %"


def age_text(seconds: float) -> str:
    """Whole seconds, minutes or hours."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def render(seen: Seen, wanted: Wanted) -> RenderableType:
    """Everything."""
    below = Table.grid(padding=(0, 4))
    below.add_row(_record(seen), _objectives(seen), _service(seen))
    return Group(_head(seen), "", _markets(seen, wanted), "", below)


def _head(seen: Seen) -> Text:
    head = Text.assemble(("volsvc", "bold"), f"  {seen.url}  ")
    if seen.lost_s is not None:
        return head.append(f"no connection for {age_text(seen.lost_s)}: {seen.fault}", "bold red")
    stale = bool(seen.latest) and all(s["stale"] for s in seen.latest)
    head.append("stale" if stale else "live", "bold red" if stale else "bold green")
    serving = seen.models.get("serving")
    if serving:
        text = f"{serving['model']} serves"
        if serving["fallback"]:
            text += f" in place of {serving['requested']}: {serving['reason']}"
        head.append(f"  {text}", "red" if serving["fallback"] else "")
    status = seen.health.get("status", "")
    return head.append(f"  {status}", "green" if status == "ok" else "bold red")


# --- markets ------------------------------------------------------------------------------


def _markets(seen: Seen, wanted: Wanted) -> RenderableType:
    if not seen.latest:
        return Text("waiting for the first forecast…", "dim")
    horizons = [p["horizon_s"] for p in seen.latest[0]["predictions"]]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("Symbol", no_wrap=True)
    table.add_column("Price", justify="right", no_wrap=True)
    table.add_column("Recent", width=SPARK_POINTS, no_wrap=True)
    for horizon in horizons:
        table.add_column(f"{SIGMA} {horizon_name(horizon)}", justify="right", no_wrap=True)
    for name in ("Spike", "Regime", "Age", "Quality"):
        table.add_column(name, justify="right" if name in ("Spike", "Age") else "left")
    ordered = sorted(seen.latest, key=lambda s: _rank(s, wanted))
    for latest in ordered[: wanted.rows]:
        table.add_row(*_market(latest, seen, wanted), style="dim" if latest["stale"] else "")
    left = len(ordered) - wanted.rows
    return Group(table, Text(f"… and {left} more", "dim")) if left > 0 else table


def _market(latest: Fields, seen: Seen, wanted: Wanted) -> list[RenderableType]:
    score = _score(latest, wanted)
    name, bar = regime_of(score)
    stale = " stale" if latest["stale"] else ""
    return [
        Text(latest["symbol"], "bold"),
        price_text(latest["price"]),
        Text(sparkline(seen.prices.get(latest["symbol"], ())), "blue"),
        *(percent(p["sigma_annualised"]) for p in latest["predictions"]),
        percent(score, 0),
        Text(f"{bar} {name}", STYLES[name]),
        Text(age_text(latest["age_s"]) + stale, "red" if stale else ""),
        _quality(latest["quality"]),
    ]


def _quality(quality: Fields) -> str:
    faults = [f"{quality[k]} {k}" for k in ("gaps", "duplicates", "late", "future") if quality[k]]
    return ", ".join([quality["verdict"], *faults])


def _score(latest: Fields, wanted: Wanted) -> float:
    """The probability of a spike at the wanted horizon, or at the daemon's."""
    scores = [p["score"] for p in latest["predictions"] if p["horizon_s"] == wanted.horizon_s]
    return float(scores[0] if scores else latest["score"])


def _rank(latest: Fields, wanted: Wanted) -> tuple[float, str]:
    """By name, or by what is asked for with the greatest first."""
    values = {
        "price": latest["price"],
        "sigma": latest["predictions"][0]["sigma_annualised"],
        "score": _score(latest, wanted),
        "age": latest["age_s"],
    }
    return -values.get(wanted.sort, 0.0), latest["symbol"]


# --- what stands below --------------------------------------------------------------------


def _small(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for index, name in enumerate(columns):
        table.add_column(name, justify="right" if index else "left", header_style="dim")
    return table


def _record(seen: Seen) -> Table:
    """How forecasts did, over all symbols."""
    table = _small("How forecasts did", "Ahead", "In band", "QLIKE ml", "base", "Skill", "n")
    rows = {(r["horizon_s"], r["variant"]): r for r in seen.quality.get("scores", ())}
    serving = seen.models.get("serving", {}).get("variant", "ml")
    for horizon in sorted({horizon for horizon, _ in rows}):
        ml, base = rows.get((horizon, "ml")), rows.get((horizon, "baseline"))
        shown = rows.get((horizon, serving)) or ml or base or {}
        table.add_row(
            horizon_name(horizon),
            percent(shown["coverage"], 0),
            f"{ml['qlike']:.3f}" if ml else NONE,
            f"{base['qlike']:.3f}" if base else NONE,
            percent(ml["skill"] if ml else None, 0),
            f"{shown['n']:,}",
        )
    if not rows:
        table.add_row(Text("none has matured", "dim"))
    return table


def _objectives(seen: Seen) -> Table:
    table = _small("Objectives", "since the start", "promise", "kept", "")
    serving = seen.models.get("serving", {}).get("variant", "")
    scores = seen.quality.get("symbols", ())
    known = Known(samples_of(seen.metrics), seen.latest, scores, serving)
    for name, promise, kept in OBJECTIVES:
        share = kept(known)
        state = "no data" if share is None else "kept" if share >= promise else "missed"
        style = {"kept": "green", "missed": "bold red"}.get(state, "dim")
        shown = percent(None if share is None else math.floor(share * 1e4) / 1e4, 2)
        table.add_row(name, f"{promise * 100:g} %", shown, Text(state, style))
    return table


def _service(seen: Seen) -> Table:
    """Parts that do not work, the feed, drift, and what changed."""
    table = _small("Service", "", "")
    table.columns[1].justify = "left"
    for name, check in seen.health.get("checks", {}).items():
        if check["status"] != "ok":
            table.add_row(Text(name, "red"), f"{check['status']}: {check['detail']}")
    samples = samples_of(seen.metrics)
    ticks, refused = (total(samples, f"volsvc_ticks{k}_total") for k in ("", "_rejected"))
    lag = total(samples, "volsvc_kafka_consumer_lag_records")
    table.add_row("ticks", f"{ticks or 0:,.0f} taken in, {refused or 0:,.0f} refused")
    table.add_row("bus", "in process" if lag is None else f"{lag:,.0f} records behind")
    table.add_row("drift", _drift(seen.drift))
    for entry in seen.changes[:CHANGES]:
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
