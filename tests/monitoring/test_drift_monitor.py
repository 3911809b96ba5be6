"""Drift in a running daemon and on the command line: checks, routes, reports."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.daemon import command, eventually, running
from tests.monitoring.test_live import foreign_reference, slow_day
from volsvc.client import AsyncClient
from volsvc.drift import Reference, judge, summarise
from volsvc.drift.report import HTML, JSON, MAX_BYTES, POLICY, ReportError, make_report
from volsvc.models.drift_inputs import DRIFT_INPUTS
from volsvc.web.schemas.stream import DriftFound


@pytest.fixture(scope="module")
def ticks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of more than a day of ticks."""
    path = tmp_path_factory.mktemp("ticks") / "ticks.ndjson"
    slow_day(path)
    return path


def hourly(folder: Path) -> dict[str, str]:
    """Return the environment of a daemon with hourly checks and a reference unlike any market."""
    foreign_reference(folder / "reference.npz")
    return {
        "VOLSVC_DRIFT__REFERENCE": str(folder / "reference.npz"),
        "VOLSVC_DRIFT__INTERVAL_S": "3600",
        "VOLSVC_DRIFT__MIN_ROWS": "50",
        "VOLSVC_DRIFT__FALSE_ALARMS_PER_WEEK": "1",
    }


@pytest.mark.long
async def test_a_daemon_checks_by_event_time_and_keeps_its_reports(
    ticks: Path, tmp_path: Path
) -> None:
    """A replay of a day is checked hour by hour: result, metrics, page, and results on disk."""
    env = hourly(tmp_path)
    async with running("--path", str(ticks), "--speed", "max", env=env, cwd=tmp_path) as daemon:
        assert (await daemon.get("/drift"))["enabled"]
        assert await daemon.status("/drift/report") == 200, "a page before the first check"

        async def reported() -> bool:
            return bool((await daemon.get("/drift"))["report"])

        await eventually(reported, 60, "a report is made")
        state = await daemon.get("/drift")
        last = state["last"]
        assert len(last["drifted"]) > len(DRIFT_INPUTS) / 2
        assert last["length"] >= 50
        assert last["data_quality"][0]["symbol"] == "BTC-USD"
        assert await daemon.metric("volsvc_drift_detected") == len(last["drifted"])
        assert await daemon.metric("volsvc_drift_checks_total") >= 1
        assert await daemon.status("/drift/report") == 200
    folders = sorted((tmp_path / "var" / "drift").iterdir())
    assert json.loads((folders[0] / "result.json").read_text())["drifted"]
    async with running("--source", "none", env=env, cwd=tmp_path) as daemon:
        assert (await daemon.get("/drift"))["last"]["end"], "the result survives a restart"


async def test_streams_have_an_event_of_each_check(ticks: Path, tmp_path: Path) -> None:
    """The event has the end of the window, the number of its rows and the drifted features."""
    # Three hours a second: the checks come while the stream is open.
    replay = ("--path", str(ticks), "--speed", "10800")
    async with (
        running(*replay, env=hourly(tmp_path), cwd=tmp_path) as daemon,
        AsyncClient(daemon.url) as client,
        asyncio.timeout(60),
    ):
        found = await anext(e.data async for e in client.stream() if e.kind == "drift")
        last = (await client.drift()).last
        assert isinstance(found, DriftFound)
        assert found.rows >= 50
        assert len(found.drifted) > len(DRIFT_INPUTS) / 2
        assert last is not None
        assert last.end is not None
        assert last.end >= found.end


async def test_a_broken_reference_degrades_health(tmp_path: Path) -> None:
    """With a reference that cannot be read the service runs, and health has the fault."""
    (tmp_path / "reference.npz").write_bytes(b"no reference")
    env = {"VOLSVC_DRIFT__REFERENCE": str(tmp_path / "reference.npz")}
    async with running("--source", "none", env=env, cwd=tmp_path) as daemon:
        health = await daemon.get("/health")
        assert health["checks"]["drift"]["status"] == "degraded"
        assert "reference.npz" in health["checks"]["drift"]["detail"]
        assert (await daemon.get("/drift"))["enabled"] is False
        assert await daemon.status("/drift/report") == 404


@pytest.mark.long
async def test_a_recording_against_the_packaged_reference(ticks: Path, tmp_path: Path) -> None:
    """The command prints verdicts and writes a table of days; errors are one line."""
    code, out, error = await command(
        "drift", "--current", str(ticks), "--summary", "days.md", cwd=tmp_path
    )
    assert code == 0, error
    assert "features drift" in out
    assert "| recording |" in (tmp_path / "days.md").read_text()
    code, _, error = await command("drift", "--current", "none.csv", cwd=tmp_path)
    assert (code, error.count("\n")) == (1, 1)
    code, _, error = await command("drift", cwd=tmp_path)
    assert (code, "--current" in error) == (2, True)


@pytest.mark.long
async def test_a_report_is_self_contained(tmp_path: Path) -> None:
    """The page loads nothing from elsewhere, and its policy forbids it."""
    rng = np.random.default_rng(2)
    rows = rng.standard_normal((3_000, 4))
    rows[:, 2], rows[::3, 3] = 1.0, np.nan
    names = ("a", "b", "constant", "gaps")
    reference = summarise(names, [rows])
    now = rng.standard_normal((500, 4)) + 1
    result = judge(reference, now, 500, 0.1).fields()
    await make_report(tmp_path, names, (reference.sample, now), result)
    page = (tmp_path / HTML).read_text()
    assert len(page) < MAX_BYTES
    assert POLICY in page
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=.?(https?:)?//", page)
    assert "metrics" in json.loads((tmp_path / JSON).read_text())


@pytest.mark.long
async def test_a_report_without_plots_has_the_verdicts(tmp_path: Path) -> None:
    """If Evidently fails, here because there are no rows, the page has the verdicts."""
    result = judge(summarise(("a",), [np.arange(2_000.0)[:, None]]), np.empty((0, 1)), 0, 0.1)
    await make_report(tmp_path, ("a",), (np.empty((0, 1)), np.empty((0, 1))), result.fields())
    assert "too_few" in (tmp_path / HTML).read_text()


@pytest.mark.long
async def test_a_failing_report_raises(tmp_path: Path) -> None:
    """ReportError has the last line of the process's errors."""
    with pytest.raises(ReportError, match="drifted"):
        await make_report(tmp_path, ("a",), (np.empty((0, 1)), np.empty((0, 1))), {})


def test_the_packaged_reference_has_our_features() -> None:
    """The packaged reference has a distribution of every feature that bars have."""
    from volsvc.drift.monitor import PACKAGED_REFERENCE, read_reference

    reference = read_reference()
    assert Reference.load(PACKAGED_REFERENCE.read_bytes()).names == DRIFT_INPUTS
    unknown = {
        name
        for name, knots in zip(reference.names, reference.knots, strict=True)
        if np.isnan(knots[0])
    }
    assert unknown == {"ret_mean", "ret_std", "span_s"}
