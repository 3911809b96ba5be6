"""Evidently's report of drift, in a process of its own: it takes 300 MB and seconds to import.

`python -m volsvc.drift.report FOLDER` reads `input.npz` and `result.json` there and writes
`report.html` and `evidently.json`. The verdicts are those of `result.json`: Evidently shows how the
distributions look, by a method that is named, and decides nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import importlib.util
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from volsvc.domain import VolsvcError

TIMEOUT_S: Final = 120.0
MOST_BYTES: Final = 24 * 1024 * 1024
INPUT, RESULT, HTML, JSON = "input.npz", "result.json", "report.html", "evidently.json"
PSI_LIMIT: Final = 0.2
# The page holds all that it needs; a browser that obeys this asks nobody for anything.
POLICY: Final = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:; worker-src blob:"
)
_STYLE: Final = (
    "body{margin:0}#volsvc{font:15px/1.5 system-ui,sans-serif;margin:1.5rem;max-width:70rem}"
    "#volsvc table{border-collapse:collapse;margin:.8rem 0}"
    "#volsvc td,#volsvc th{border-bottom:1px solid #ccc;padding:.15rem .8rem;text-align:left}"
    "#volsvc .drift{font-weight:bold;color:#b00020}"
)


EMPTY: Final = "<!DOCTYPE html><html><head><meta charset='utf-8'></head><body></body></html>"


class ReportError(VolsvcError):
    """A report that could not be made; the text says why."""


def available() -> bool:
    """Whether Evidently is installed."""
    return importlib.util.find_spec("evidently") is not None


async def make_report(
    folder: Path,
    names: Sequence[str],
    samples: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]],
    result: Mapping[str, Any],
) -> None:
    """Write a report into `folder`; `samples` are rows of the reference and of now.

    Raises ReportError when it takes too long, grows too large or fails.
    """
    await asyncio.to_thread(_put, folder, names, samples, result)
    try:
        await _run(folder)
    finally:
        (folder / INPUT).unlink(missing_ok=True)


def _put(
    folder: Path,
    names: Sequence[str],
    samples: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]],
    result: Mapping[str, Any],
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    reference, current = samples
    np.savez_compressed(folder / INPUT, names=np.array(names), reference=reference, current=current)
    (folder / RESULT).write_text(json.dumps(result, indent=1))


async def _run(folder: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "volsvc.drift.report",
        str(folder),
        env={**os.environ, "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1"},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            _, complaint = await process.communicate()
    except TimeoutError as error:
        raise ReportError(f"the report was not ready within {TIMEOUT_S:g} s") from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode != 0:
        lines = complaint.decode(errors="replace").strip().splitlines()
        raise ReportError(lines[-1] if lines else f"exit code {process.returncode}")


def evidently_page(
    names: Sequence[str], reference: np.ndarray[Any, Any], current: np.ndarray[Any, Any]
) -> tuple[str, str]:
    """Evidently's page and its JSON, over the columns that have values on both sides."""
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    both = [at for at in range(len(names)) if _varies(reference[:, at]) and _varies(current[:, at])]
    columns = [names[at] for at in both]
    frames = [pd.DataFrame(side[:, both], columns=columns) for side in (current, reference)]
    definition = DataDefinition(numerical_columns=columns)
    data = [Dataset.from_pandas(frame, data_definition=definition) for frame in frames]
    report = Report([DataDriftPreset(num_method="psi", num_threshold=PSI_LIMIT)])
    run = report.run(*data)
    return str(run.get_html_str(as_iframe=False)), str(run.json())


def _varies(column: np.ndarray[Any, Any]) -> bool:
    """Whether a histogram of the column can have ten bins."""
    known = column[np.isfinite(column)]
    return len(known) > 1 and bool(np.ptp(known) > 1e-6 * np.abs(known).max())


def with_our_part(page: str, result: Mapping[str, Any] | None) -> str:
    """The page with our verdicts on top, and with a policy that lets it ask nobody.

    None stands for a check that is still to come.
    """
    head = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><style>{_STYLE}</style>'
    page = page.replace("<head>", f"<head>{head}", 1)
    return page.replace("<body>", f"<body>{_our_part(result)}", 1)


def _our_part(result: Mapping[str, Any] | None) -> str:
    if result is None:
        return '<section id="volsvc"><h1>Drift</h1><p>No window is over yet.</p></section>'
    drifted = ", ".join(result["drifted"]) or "none"
    features = [
        (f["feature"], f["verdict"], f["ks"], f["psi"], f["p_value"], f["shift"], f["missing"])
        for f in result["features"]
    ]
    head = ("feature", "verdict", "K-S", "PSI", "p", "shift of median / IQR", "missing")
    text = (
        f"<p>{result['rows']} rows, stretches of {result['length']}; "
        f"a feature drifts when p is below {result['level']:.2g}. Drifted: {html.escape(drifted)}. "
        "The p-values allow for the dependence of a row on those before it; the verdicts of "
        f"Evidently below (PSI above {PSI_LIMIT:g}) do not, and are there to look at.</p>"
    )
    parts = ["<h1>Drift</h1>", text, _table(head, features)]
    quality = result.get("data_quality") or []
    if quality:
        columns = tuple(quality[0])
        parts += ["<h2>Data quality</h2>", _table(columns, [tuple(q.values()) for q in quality])]
    return f'<section id="volsvc">{"".join(parts)}</section>'


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    top = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    lines = []
    for row in rows:
        mark = ' class="drift"' if "drift" in row else ""
        lines.append(f"<tr{mark}>{''.join(f'<td>{_text(value)}</td>' for value in row)}</tr>")
    return f"<table><tr>{top}</tr>{''.join(lines)}</table>"


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else html.escape(str(value))


def main(folder: Path) -> None:
    """Make the report of a folder; an error is one line on standard error and exit code 1."""
    with np.load(folder / INPUT, allow_pickle=False) as data:
        names, reference, current = data["names"].tolist(), data["reference"], data["current"]
    result = json.loads((folder / RESULT).read_text())
    try:
        page, values = evidently_page(names, reference, current)
    except Exception as error:  # noqa: BLE001 -- our verdicts are worth a page without its plots
        page, values = EMPTY, json.dumps({"error": repr(error)})
    page = with_our_part(page, result)
    if len(page.encode()) > MOST_BYTES:
        raise ReportError(f"the report would be larger than {MOST_BYTES} bytes")
    for name, text in ((JSON, values), (HTML, page)):
        part = folder / f".{name}"
        part.write_text(text)
        part.replace(folder / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
