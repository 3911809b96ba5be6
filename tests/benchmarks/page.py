"""Results in docs/performance.md: tables and plots between markers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

from tests.benchmarks.figures import Curve, Results, Row, rounded

mpl.use("Agg")
from matplotlib import pyplot as plt

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
REACHED = {True: "yes", False: "**no**", None: ""}


def table_of(rows: Sequence[Row]) -> str:
    """Return a table with our figure, the reference's, the ratio, and the target of each row."""
    lines = [
        "| what | volsvc | reference | ratio | target | reached |",
        "| --- | --: | --- | --: | --- | --- |",
    ]
    for row in rows:
        reference = f"{row.reference}, {row.reference.name}" if row.reference else ""
        ratio = rounded(row.ratio) if row.ratio is not None else ""
        target = "" if row.target is None else target_of(row)
        cells = (row.what, str(row.ours), reference, ratio, target, REACHED[row.reached])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def target_of(row: Row) -> str:
    """Return the bound in the unit of the row."""
    assert row.target is not None, "asked for rows with one"
    return f"{row.target} {row.ours.unit}" if row.target.of == "figure" else str(row.target)


def section(results: Results, machine: str, folder: str) -> str:
    """Return the text between the markers."""
    with_target = [row for row in results.rows if row.target is not None]
    others = [row for row in results.rows if row.target is None]
    met = sum(row.reached is True for row in with_target)
    parts = [machine, f"{met} of {len(with_target)} targets are met.", table_of(with_target)]
    if others:
        parts += ["Beside them, without a target:", table_of(others)]
    parts += results.notes
    parts += [f"![{curve.title}]({folder}/{curve.slug}.png)" for curve in results.curves]
    return "\n\n".join(parts)


def written_into(text: str, inside: str) -> str:
    """Return a page with the text between its markers replaced; raises ValueError without them."""
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"the page lacks its markers {BEGIN} and {END}")
    return pattern.sub(lambda _: f"{BEGIN}\n\n{inside}\n\n{END}", text)


def draw(curve: Curve, folder: Path) -> None:
    """Draw one plot with a logarithmic x axis and a line for each name."""
    figure, axes = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
    for name, points in curve.lines.items():
        axes.plot([x for x, _ in points], [y for _, y in points], "o-", label=name, markersize=4)
    axes.set(xscale="log", xlabel=curve.x, ylabel=curve.y, title=curve.title)
    xs = sorted({x for points in curve.lines.values() for x, _ in points})
    axes.set_xticks(xs, [f"{x:,g}" for x in xs], minor=False)
    axes.minorticks_off()
    if curve.from_zero:
        axes.set_ylim(bottom=0)
    else:
        axes.set_yscale("log")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{curve.slug}.png", dpi=90, metadata={"Software": None})
    plt.close(figure)
