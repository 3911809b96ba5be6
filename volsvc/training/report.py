"""The report of an evaluation: Markdown, HTML from it, plots, and all figures as JSON."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import volsvc
from volsvc.models.artefact import Artefact
from volsvc.training.evaluation import Scores
from volsvc.training.plots import plot_days, plot_forecasts, plot_reliability
from volsvc.training.scores import DieboldMariano
from volsvc.training.walkforward import OURS, WalkForwardResult

STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;margin:1rem 0;font-variant-numeric:tabular-nums}
td,th{border:1px solid #bbb;padding:.25rem .6rem;text-align:right}
td:first-child,th:first-child{text-align:left}img{max-width:100%}code{background:#eee}"""


@dataclass(frozen=True)
class Report:
    """The contents of a report; `notes` are paragraphs under the title."""

    title: str
    command: str
    notes: Sequence[str]
    pooled: Sequence[Scores]
    scores: Sequence[Scores]
    # QLIKE of a symbol at a horizon when our model was fitted without it; may be empty.
    left_out: Mapping[tuple[str, float], float]


def write_report(report: Report, results: Sequence[WalkForwardResult], out: Path) -> None:
    """Write report.md, report.html, scores.json and the plots into the folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    plot_forecasts(results, out / "forecast-against-realised.png")
    plot_reliability(results, out / "reliability.png")
    plot_days(report.pooled, out / "qlike-by-day.png")
    text = markdown(report)
    (out / "report.md").write_text(text)
    (out / "report.html").write_text(_html(report.title, text))
    figures = [_figures(s) for s in (*report.pooled, *report.scores)]
    (out / "scores.json").write_text(json.dumps(figures, indent=1))


def markdown(report: Report) -> str:
    """Return the report as Markdown."""
    where = f"{platform.machine()}, Python {platform.python_version()}"
    made = f"Made by `{report.command}` with volsvc {volsvc.__version__} on "
    made += f"{datetime.now(UTC):%Y-%m-%d} ({where})."
    lines = [
        f"# {report.title}",
        "",
        made,
        "",
    ]
    for note in report.notes:
        lines += [note, ""]
    lines += ["## Pooled", "", *_gains(report.pooled), "", *_losses(report.pooled), ""]
    lines += ["## Weekends", "", *_weekends(report.pooled), ""]
    lines += ["## Probabilities and intervals", "", *_calibration(report.pooled), ""]
    lines += ["## By symbol", "", *_symbols(report.scores), ""]
    lines += ["### Losses by symbol", "", *_losses(report.scores), ""]
    lines += ["### Probabilities and intervals by symbol", "", *_calibration(report.scores), ""]
    if report.left_out:
        lines += ["## Leaving one symbol out", "", *_left_out(report), ""]
    lines += ["## Plots", ""]
    for name, what in (
        ("forecast-against-realised", "Realised against forecast volatility, by forecast"),
        ("reliability", "How often a spike came, by the probability that was given"),
        ("qlike-by-day", "QLIKE by day, mean of all symbols"),
    ):
        lines += [f"![{what}]({name}.png)", "", f"{what}.", ""]
    return "\n".join(lines)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    align = ["---"] + ["--:"] * (len(head) - 1)
    return ["| " + " | ".join(row) + " |" for row in (head, align, *rows)]


def _horizon(scores: Scores) -> str:
    return f"{scores.horizon_s:g} s"


def _percent(value: float) -> str:
    return "" if math.isnan(value) else f"{100 * value:+.1f} %"


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}"


def _test(test: DieboldMariano) -> str:
    return "" if math.isnan(test.t) else f"{test.t:.1f}"


def _probability(test: DieboldMariano) -> str:
    return "" if math.isnan(test.p) else f"{test.p:.1e}"


def _best_set(scores: Scores) -> str:
    return ", ".join(sorted(scores.confidence_set))


def _gains(pooled: Sequence[Scores]) -> list[str]:
    head = ["horizon", "QLIKE", "vs EWMA", "DM t", "vs best HAR", "which", "DM t"]
    head += ["worst symbol-day vs EWMA", "where", "90 % confidence set"]
    rows = []
    for s in pooled:
        row = [_horizon(s), f"{s.qlike[OURS]:.4f}", _percent(s.gain("EWMA"))]
        best = s.best_har
        row += [_test(s.dm["EWMA"]), _percent(s.gain(best)), best, _test(s.dm[best])]
        rows.append([*row, f"{s.worst_day_ratio:.2f}x", s.worst_day, _best_set(s)])
    return _table(head, rows)


def _weekends(pooled: Sequence[Scores]) -> list[str]:
    head = ["horizon", "vs EWMA, all days", "Saturday and Sunday"]
    head += ["vs best HAR, all days", "Saturday and Sunday"]
    rows = []
    for s in pooled:
        gains = [(s.gain(other), s.weekend_gain(other)) for other in ("EWMA", s.best_har)]
        rows.append([_horizon(s), *(_percent(gain) for pair in gains for gain in pair)])
    return _table(head, rows)


def _losses(scores: Sequence[Scores]) -> list[str]:
    names = list(scores[0].qlike)
    head = ["symbol", "horizon", *names, "MZ a", "MZ b", "MZ R²"]
    rows = [
        [
            s.symbol,
            _horizon(s),
            *(f"{s.qlike[name]:.4f}" for name in names),
            f"{s.mz.intercept:.1e}",
            _number(s.mz.slope),
            _number(s.mz.r2),
        ]
        for s in scores
    ]
    return _table(head, rows)


def _calibration(scores: Sequence[Scores]) -> list[str]:
    head = ["symbol", "horizon", "base rate", "PR-AUC", "EWMA's", "Brier", "skill", "ECE"]
    head += ["coverage", "5 % of days", "log width"]
    rows = []
    for s in scores:
        c = s.calibration
        values = (c.base_rate, c.pr_auc, c.pr_auc_ewma, c.brier, c.skill, c.ece, c.coverage)
        numbers = (*values, c.coverage_low_day, c.log_width)
        rows.append([s.symbol, _horizon(s), *(_number(value) for value in numbers)])
    return _table(head, rows)


def _symbols(scores: Sequence[Scores]) -> list[str]:
    head = ["symbol", "horizon", "vs EWMA", "DM p", "vs best HAR", "DM p"]
    head += ["worst day vs EWMA", "in the 90 % set"]
    rows = []
    for s in scores:
        row = [s.symbol, _horizon(s), _percent(s.gain("EWMA")), _probability(s.dm["EWMA"])]
        row += [_percent(s.gain(s.best_har)), _probability(s.dm[s.best_har])]
        inside = "yes" if OURS in s.confidence_set else "no"
        inside = inside if s.confidence_set else ""
        rows.append([*row, f"{s.worst_day_ratio:.2f}x ({s.worst_day})", inside])
    return _table(head, rows)


def _left_out(report: Report) -> list[str]:
    rows = []
    for s in report.scores:
        loss = report.left_out[s.symbol, s.horizon_s]
        unseen = loss / s.qlike["EWMA"] - 1
        points = f"{100 * (unseen - s.gain('EWMA')):+.1f}"
        rows.append([s.symbol, _horizon(s), _percent(s.gain("EWMA")), _percent(unseen), points])
    head = ["symbol", "horizon", "vs EWMA, seen", "vs EWMA, unseen", "points lost"]
    return _table(head, rows)


def model_card(artefact: Artefact) -> str:
    """Return the facts of an artefact as Markdown."""
    facts = artefact.facts
    data = [
        [item["symbol"], item["from"], str(item["minutes"]), item["sha256"][:16]]
        for item in facts["data"]
    ]
    metrics = [
        [f"{horizon} s", *(f"{by[v]['held_out_qlike']:.4f}" for v in ("ml", "baseline"))]
        for horizon, by in facts["metrics"].items()
    ]
    made = f"Digest `{artefact.model.digest}`, trained until {facts['trained_until']} on "
    made += f"{facts['machine']}."
    lines = [
        f"# volsvc ml {artefact.model.version}",
        "",
        made,
        "",
        *_table(["symbol", "from", "minutes", "SHA-256 of the recording"], data),
        "",
        "QLIKE on the last part of the training time, by models fitted on the part before it:",
        "",
        *_table(["horizon", "ml", "baseline"], metrics),
        "",
    ]
    return "\n".join(lines)


def _html(title: str, text: str) -> str:
    from markdown_it import MarkdownIt

    body = MarkdownIt().enable("table").render(text)
    head = f'<meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def _figures(scores: Scores) -> Mapping[str, Any]:
    """Return a row of scores.json."""
    return {
        "symbol": scores.symbol,
        "horizon_s": scores.horizon_s,
        "rows": scores.rows,
        "qlike": scores.qlike,
        "weekend_qlike": scores.weekend_qlike,
        "dm": {name: test._asdict() for name, test in scores.dm.items()},
        "mz": scores.mz._asdict(),
        "calibration": vars(scores.calibration),
        "confidence_set": scores.confidence_set,
        "worst_day_ratio": scores.worst_day_ratio,
        "worst_day": scores.worst_day,
    }
