"""Figures of docs/report.md, read from the results of the measurements."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from volsvc.training.anchors import HARS

DOCS = Path(__file__).parents[2] / "docs"
MADE_BY = re.compile(r"^Made by `(.+?)` (?:with|on) ", re.MULTILINE)
EWMA = "EWMA"


class Table(NamedTuple):
    """A table of the report: its head, its rows, and the command that made its figures."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    command: str


def markdown(table: Table) -> str:
    """Return the table, with the command under it."""
    lines = [table.head, ["---", *["--:"] * (len(table.head) - 1)], *table.rows]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{text}\n\nMade by `{table.command}`."


def _relative(ours: float, theirs: float) -> str:
    return f"{100 * (ours / theirs - 1):+.1f} %"


def forecasts(name: str, command: str) -> Table:
    """Return QLIKE and PR-AUC of an evaluation, over all symbols and their range among symbols."""
    scores = json.loads((DOCS / "evaluation" / name / "scores.json").read_text())
    horizons = sorted({score["horizon_s"] for score in scores})
    rows = [_of_horizon([s for s in scores if s["horizon_s"] == horizon]) for horizon in horizons]
    head = ("horizon", "QLIKE", "against EWMA", "symbols", "against the best HAR", "t")
    return Table((*head, "PR-AUC", "EWMA's", "by chance", "coverage of 90 %"), rows, command)


def _of_horizon(scores: Sequence[Mapping[str, Any]]) -> list[str]:
    whole = next(score for score in scores if score["symbol"] == "all")
    qlike, calibration = whole["qlike"], whole["calibration"]
    best = min((name for name in HARS if name in qlike), key=lambda name: float(qlike[name]))
    each = sorted(s["qlike"]["volsvc"] / s["qlike"][EWMA] for s in scores if s["symbol"] != "all")
    weakest = max(whole["dm"][EWMA]["t"], whole["dm"][best]["t"])
    return [
        f"{whole['horizon_s']:.0f} s",
        f"{qlike['volsvc']:.4f}",
        _relative(qlike["volsvc"], qlike[EWMA]),
        f"{_relative(each[0], 1)} to {_relative(each[-1], 1)}",
        _relative(qlike["volsvc"], qlike[best]),
        f"{weakest:.1f}",
        f"{calibration['pr_auc']:.3f}",
        f"{calibration['pr_auc_ewma']:.3f}",
        f"{calibration['base_rate']:.3f}",
        f"{calibration['coverage']:.3f}",
    ]


def from_ticks() -> Table:
    """Return the QLIKE of both variants from ticks, 60 s ahead."""
    text = (DOCS / "evaluation" / "ticks.md").read_text()
    found = MADE_BY.search(text)
    assert found is not None, "the page says what made it"
    rows = [row for row in _rows(text) if row[0] == "all" and len(row) == 10]
    names = ("real recordings", "generated ticks")
    kept = [[name, *row[1:5], *row[6:8]] for name, row in zip(names, rows, strict=True)]
    head = ("from", "forecasts", "ml", "baseline", "EWMA, tuned in hindsight", "ml against it", "t")
    return Table(head, kept, found[1])


def speed() -> Table | None:
    """Return the results of the benchmarks with their references; None without kept results."""
    path = DOCS / "performance.json"
    if not path.exists():
        return None
    rows = json.loads(path.read_text())["rows"]
    kept = [_speed_row(row) for row in rows if row["target"] is not None]
    head = ("what", "volsvc", "rounds", "reference", "ratio", "target")
    return Table(head, kept, "make bench")


def _speed_row(row: Mapping[str, Any]) -> list[str]:
    ours, theirs, target = row["ours"], row["reference"], row["target"]
    rounds = ours["rounds"]
    spread = f"{_number(min(rounds))} to {_number(max(rounds))}"
    figure = f"{_number(median(rounds))} {ours['unit']}"
    ratio = reference = ""
    if theirs is not None:
        reference = f"{_number(median(theirs['rounds']))} {theirs['unit']}, {theirs['name']}"
        turns = (a / b for a, b in zip(rounds, theirs["rounds"], strict=False))
        ratio = f"{median(turns):.3g}"
    unit = "x" if target["of"] == "ratio" else f" {ours['unit']}"
    wanted = f"{target['bound']} {target['value']:,g}{unit}"
    return [row["what"], figure, spread, reference, ratio, wanted]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.3g}"


def under_load() -> Table:
    """Return the latency under load, in milliseconds."""
    rows = [row for row in _rows((DOCS / "load_report.md").read_text()) if len(row) == 9]
    kept = [[*row[:4], *row[5:8]] for row in rows if row[0] != "scenario"]
    head = ("scenario", "answers/s", "statuses", "p50, ms", "p95, ms", "p99, ms", "most, ms")
    return Table(head, kept, "make load")


def under_faults() -> Table:
    """Return the measurements of the demo's newest runs."""
    runs: list[dict[str, float]] = json.loads((DOCS / "demo.json").read_text())["runs"]
    rows = []
    for what in runs[-1]:
        values = [run[what] for run in runs if what in run]
        spread = f"{_number(min(values))} to {_number(max(values))}"
        rows.append([what, _number(median(values)), spread])
    return Table(("what", f"median of {len(runs)}", "from, to"), rows, "make demo")


def _rows(text: str) -> Iterator[list[str]]:
    """Yield the cells of every line of every table."""
    for line in text.splitlines():
        if line.startswith("|") and not line.startswith(("| --", "|--")):
            yield [cell.strip() for cell in line.strip().strip("|").split("|")]
