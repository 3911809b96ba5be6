"""Evidently's report of drift, made in a process of its own: importing it takes 300 MB and seconds.

`python -m volsvc.drift.report FOLDER` reads `input.npz` and `result.json` there and writes
`report.html` and `evidently.json`. The verdicts are those of `result.json`: Evidently shows the
distributions and decides nothing.
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
from volsvc.safe_io.disk import replace_file

TIMEOUT_S: Final = 120.0
MAX_BYTES: Final = 24 * 1024 * 1024
INPUT, RESULT, HTML, JSON = "input.npz", "result.json", "report.html", "evidently.json"
# PSI above which Evidently marks a feature in its part of the page.
PSI_LIMIT: Final = 0.2
# The page is complete in itself; under this policy a browser loads nothing else.
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

# The page before the first report, or where Evidently has failed.
EMPTY: Final = "<!DOCTYPE html><html><head><meta charset='utf-8'></head><body></body></html>"


class ReportError(VolsvcError):
    """A report that could not be made; the text has the reason."""


def available() -> bool:
    """Return whether Evidently is installed."""
    return importlib.util.find_spec("evidently") is not None


async def make_report(
    folder: Path,
    names: Sequence[str],
    samples: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]],
    result: Mapping[str, Any],
) -> None:
    """Write a report into `folder`; `samples` are rows of the reference and of the window.

    Raises ReportError if it takes too long, grows too large or fails.
    """
    await asyncio.to_thread(_write_input, folder, names, samples, result)
    try:
        await _run(folder)
    finally:
        (folder / INPUT).unlink(missing_ok=True)


def _write_input(
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
        # Evidently sends usage data unless told not to.
        env={**os.environ, "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1"},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            _, stderr = await process.communicate()
    except TimeoutError as error:
        raise ReportError(f"the report was not ready within {TIMEOUT_S:g} s") from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode != 0:
        # The last line of a traceback names the error.
        lines = stderr.decode(errors="replace").strip().splitlines()
        raise ReportError(lines[-1] if lines else f"exit code {process.returncode}")


def evidently_page(
    names: Sequence[str], reference: np.ndarray[Any, Any], current: np.ndarray[Any, Any]
) -> tuple[str, str]:
    """Return Evidently's page and its JSON, of the columns that vary in both samples."""
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    both = [i for i in range(len(names)) if _varies(reference[:, i]) and _varies(current[:, i])]
    columns = [names[i] for i in both]
    frames = [pd.DataFrame(side[:, both], columns=columns) for side in (current, reference)]
    definition = DataDefinition(numerical_columns=columns)
    data = [Dataset.from_pandas(frame, data_definition=definition) for frame in frames]
    report = Report([DataDriftPreset(num_method="psi", num_threshold=PSI_LIMIT)])
    run = report.run(*data)
    return str(run.get_html_str(as_iframe=False)), str(run.json())


def _varies(column: np.ndarray[Any, Any]) -> bool:
    """Return whether a histogram of the column can have ten bins, which Evidently needs."""
    known = column[np.isfinite(column)]
    return len(known) > 1 and bool(np.ptp(known) > 1e-6 * np.abs(known).max())


def with_verdicts(page: str, result: Mapping[str, Any] | None) -> str:
    """Return the page with our verdicts on top, and with POLICY.

    `result` is None before the first check.
    """
    head = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><style>{_STYLE}</style>'
    page = page.replace("<head>", f"<head>{head}", 1)
    return page.replace("<body>", f"<body>{_verdicts(result)}", 1)


def _verdicts(result: Mapping[str, Any] | None) -> str:
    """Return our part of the page: verdicts, distances and data quality."""
    if result is None:
        return '<section id="volsvc"><h1>Drift</h1><p>No window is complete yet.</p></section>'
    drifted = ", ".join(result["drifted"]) or "none"
    features = [
        (f["feature"], f["verdict"], f["ks"], f["psi"], f["p_value"], f["shift"], f["missing"])
        for f in result["features"]
    ]
    head = ("feature", "verdict", "K-S", "PSI", "p", "shift of median / IQR", "missing")
    text = (
        f"<p>{result['rows']} rows, blocks of {result['length']}; "
        f"a feature drifts if p is below {result['level']:.2g}. Drifted: {html.escape(drifted)}. "
        "The p-values allow for the dependence of a row on those before it; the marks of Evidently "
        f"below (PSI above {PSI_LIMIT:g}) do not, and are for orientation only.</p>"
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
    """Make the report of a folder; raises ReportError if it grows too large."""
    with np.load(folder / INPUT, allow_pickle=False) as data:
        names, reference, current = data["names"].tolist(), data["reference"], data["current"]
    result = json.loads((folder / RESULT).read_text())
    try:
        page, values = evidently_page(names, reference, current)
    except Exception as error:  # noqa: BLE001 -- our verdicts are useful without the plots
        page, values = EMPTY, json.dumps({"error": repr(error)})
    page = with_verdicts(page, result)
    if len(page.encode()) > MAX_BYTES:
        raise ReportError(f"the report would be larger than {MAX_BYTES} bytes")
    for name, text in ((JSON, values), (HTML, page)):
        # In one step, since a request may read the folder at any time.
        replace_file(folder / name, text.encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
