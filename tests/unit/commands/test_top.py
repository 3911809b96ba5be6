"""`volsvc top`: rendering of a daemon's answers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import volsvc
from volsvc.commands.top.objectives import OBJECTIVES, ObjectiveInputs, samples_of
from volsvc.commands.top.view import (
    REGIMES,
    DaemonSnapshot,
    ViewOptions,
    age_text,
    price_text,
    render,
    sparkline,
)
from volsvc.monitoring.spec import read_spec

ROOT = Path(volsvc.__file__).parent
PAGE = ROOT / "web" / "static" / "page"


def requests(kind: str, route: str, status: int, count: float) -> str:
    labels = f'http_route="{route}",http_response_status_code="{status}"'
    name, _, more = kind.partition(" ")
    return f"http_server_request_duration_seconds_{name}{{{labels}{more}}} {count}\n"


METRICS = (
    requests('bucket ,le="0.1"', "/predict", 200, 98)
    + requests('bucket ,le="0.8"', "/predict", 200, 99)
    + requests("count", "/predict", 200, 100)
    + requests("count", "/latest", 503, 100)
    + requests("count", "/health", 503, 900)
    + 'volsvc_ticks_total{source="csv"} 1234.0\n'
    + 'volsvc_kafka_consumer_lag_records{topic="ticks.raw",partition="0"} 7.0\n'
)


def latest(symbol: str, price: float, score: float, **more: Any) -> dict[str, Any]:
    predictions = [
        {"horizon_s": 60.0, "sigma_annualised": 0.5, "score": score},
        {"horizon_s": 3600.0, "sigma_annualised": 0.75, "score": 0.01},
    ]
    counts = {"gaps": 2, "duplicates": 0, "late": 0, "future": 0, "bad_prints": 0}
    quality = {**counts, "verdict": "warming"}
    fields = {"symbol": symbol, "price": price, "score": score, "age_s": 0.4, "stale": False}
    return {**fields, "predictions": predictions, "quality": quality, **more}


def score_row(variant: str, **more: Any) -> dict[str, Any]:
    row = {"variant": variant, "horizon_s": 60.0, "n": 300, "qlike": 0.25, "coverage": 0.91}
    return {**row, "skill": 0.07, **more}


def snapshot(*symbols: dict[str, Any]) -> DaemonSnapshot:
    found = DaemonSnapshot("http://x")
    found.update_latest(symbols)
    found.models = {
        "serving": {"model": "ml-1", "variant": "ml", "fallback": False, "requested": "ml"}
    }
    scores = [score_row("ml"), score_row("baseline", qlike=0.27, skill=0.0)]
    found.quality = {"scores": scores, "symbols": [{**s, "symbol": "BTC-USD"} for s in scores]}
    found.health = {
        "status": "degraded",
        "checks": {"kafka:x": {"status": "degraded", "detail": "away"}},
    }
    found.drift = {"enabled": True, "last": None, "gathered": {"rows": 12}}
    found.metrics = METRICS
    return found


def drawn(found: DaemonSnapshot, wanted: ViewOptions | None = None) -> str:
    console = Console(width=180, height=60, no_color=True)
    with console.capture() as capture:
        console.print(render(found, wanted or ViewOptions()))
    return capture.get()


BTC, ETH = latest("BTC-USD", 70_012.346, 0.61), latest("ETH-USD", 0.0123456, 0.04)


def test_it_shows_the_facts_of_the_page() -> None:
    """Markets, scores, objectives, failing parts, bus and drift are all in the view."""
    text = drawn(snapshot(BTC, ETH))
    for words in (
        *("70,012.35", "0.012346", "50.0 %", "75.0 %", "61 %", "turbulent", "calm", "2 gaps"),
        *("ml-1 serves", "degraded", "away", "0.250", "0.270", "91 %", "7 %"),
        *("1,234 accepted", "7 records behind", "12 rows gathered"),
    ):
        assert words in text, words


def test_a_cold_symbol_has_no_regime() -> None:
    """Its verdict is shown, and a dash in place of the regime, whatever its score."""
    cold = {**BTC, "quality": {**BTC["quality"], "verdict": "cold"}}
    text = drawn(snapshot(cold))
    assert "turbulent" not in text
    assert "cold, 2 gaps" in text


def test_order_horizon_and_rows() -> None:
    """Rows are sorted by the chosen column, greatest first; rows beyond the limit are counted."""
    names = re.compile("BTC-USD|ETH-USD")
    found = snapshot(BTC, ETH)
    assert names.findall(drawn(found)) == ["BTC-USD", "ETH-USD"]
    aged = snapshot(BTC, {**ETH, "age_s": 90.0})
    assert names.findall(drawn(aged, ViewOptions("age"))) == ["ETH-USD", "BTC-USD"]
    assert "turbulent" not in drawn(found, ViewOptions(horizon_s=3600.0))
    assert "and 1 more" in drawn(found, ViewOptions(rows=1))


def test_problems_are_shown() -> None:
    """A fallback, a stale feed and a lost connection are named; the numbers stay."""
    found = snapshot({**BTC, "stale": True, "age_s": 130.0})
    fallback = {"model": "baseline-2", "variant": "baseline", "requested": "ml"}
    found.models = {"serving": {**fallback, "fallback": True, "reason": "the guard"}}
    text = drawn(found)
    assert "in place of ml: the guard" in text
    assert "2 min stale" in text
    found.lost_s, found.error = 65.0, "cannot be reached"
    text = drawn(found)
    assert "no connection for 1 min: cannot be reached" in text
    assert "70,012.35" in text
    assert "waiting" in drawn(DaemonSnapshot("http://x"))


def test_objectives() -> None:
    """Shares are those of the counted requests, of fresh symbols, and of calibrated intervals."""
    inputs = ObjectiveInputs(
        samples_of(METRICS), [BTC, {**ETH, "age_s": 61.0}], snapshot(BTC).quality["symbols"], "ml"
    )
    shares = {name: share_of(inputs) for name, _, share_of in OBJECTIVES}
    assert shares == {
        "availability": 0.5,
        "latency": 0.99,
        "latency-tight": 0.98,
        "freshness": 0.5,
        "forecast-quality": 1.0,
    }
    nothing = ObjectiveInputs([], [], [], "ml")
    assert [share_of(nothing) for _, _, share_of in OBJECTIVES] == [None] * 5
    young = ObjectiveInputs([], [], [score_row("ml", n=239)], "ml")
    assert {n: share_of(young) for n, _, share_of in OBJECTIVES}["forecast-quality"] is None


def test_page_and_terminal_agree() -> None:
    """Regimes and objectives are those of the page; the objectives those of deploy/slo.yaml."""
    text = (PAGE / "format.js").read_text()
    regimes = re.findall(r'from: ([\d.]+), name: "(\w+)"', text)
    assert [(float(n), name) for n, name in regimes[:-1]] == [(n, name) for n, name, _ in REGIMES]
    promised = read_spec(ROOT.parent / "deploy" / "slo.yaml").objectives
    assert [(n, o) for n, o, _ in OBJECTIVES] == [(o.name, o.objective) for o in promised]


@pytest.mark.parametrize(
    ("price", "text"),
    [(70_006.766, "70,006.77"), (2.5765, "2.5765"), (0.0, "0.0000"), (0.00012345678, "0.00012346")],
)
def test_prices(price: float, text: str) -> None:
    """A price has at least five significant digits, unless it is large or zero."""
    assert price_text(price) == text


def test_lines_and_ages() -> None:
    """A sparkline is scaled from the lowest to the highest price; an age has one unit."""
    assert sparkline([1.0, 2.0, 3.0])[::2] == "▁█"
    assert sparkline([5.0]) == ""
    assert sparkline([5.0, 5.0]) == "▁▁"
    assert [age_text(s) for s in (0.4, 59.4, 61, 7300)] == ["0 s", "59 s", "1 min", "2 h"]
