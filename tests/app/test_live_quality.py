"""Live scores of a whole daemon equal offline ones, and the guard acts on them."""

from __future__ import annotations

import asyncio
import json
import math
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from tests.daemon import eventually
from volsvc.config.settings import load_settings
from volsvc.daemon.daemon import Daemon
from volsvc.models import HORIZONS_S, Baseline, packaged
from volsvc.models.ml import MlModel
from volsvc.scoring.past_outcomes import qlike

MINUTES, STEP_S, SIGMA = 330, 5, 2e-4
START_S = 1_767_571_200
FLOOR = 0.5e-4**2


def write_walk(path: Path) -> list[float]:
    """Write a random walk of known volatility, one price a grid step; return its log prices."""
    rng = np.random.default_rng(3)
    logs = math.log(100) + np.cumsum(rng.normal(0, SIGMA, MINUTES * 60 // STEP_S))
    with path.open("w") as file:
        for index, price in enumerate(np.exp(logs).tolist()):
            row = {"time": START_S + index * STEP_S, "symbol": "X-USD", "price": price}
            file.write(json.dumps(row) + "\n")
    return [math.log(math.exp(x)) for x in logs.tolist()]


class TenfoldModel(MlModel):
    """A fitted model with a planted fault: it forecasts ten times the variance."""

    def head_variances(self, features: Any, count: int) -> Any:
        return 10 * Baseline().head_variances(features, count)


async def replayed(
    path: Path, least: int, model: MlModel | None = None
) -> tuple[Daemon, list[Any]]:
    """Return a daemon that has replayed a recording, and the outcomes that it published."""
    sections: dict[str, dict[str, Any]] = {
        "source": {"path": str(path)},
        "replay": {"speed": "max"},
        "http": {"port": 0},
        "service": {"roles": "producer,consumer"},
        "model": {"import_packaged": False},
        "quality": {"least_forecasts": least},
    }
    daemon = Daemon(load_settings(None, sections))
    if model is not None:
        holder = daemon.services.holder
        holder.apply(replace(holder.desired, fitted=model), "settings")
    published: list[Any] = []
    publish = daemon.bus.publish

    async def keep(topic: str, records: Any) -> None:
        if topic == "ticks.outcomes":
            published.extend(msgspec.json.decode(record.value) for record in records)
        await publish(topic, records)

    daemon.bus.publish = keep  # type: ignore[method-assign]
    stop = asyncio.Event()
    run = asyncio.create_task(daemon.run(stop, lambda url: None))

    async def finished() -> bool:
        state = next(iter(daemon.services.table), None)
        rows = MINUTES * 60 // STEP_S
        return (
            state is not None
            and len(state.history(1000)) >= min(rows, 1000)
            and (
                state.row is not None
                and state.row.time_ns == (START_S + (rows - 1) * STEP_S) * 1_000_000_000
            )
        )

    await eventually(finished, 60, "the recording is replayed")
    daemon.services.quality_monitor.check_guard()
    stop.set()
    await run
    return daemon, published


def realised(logs: list[float], matured_at: str, horizon_s: float) -> float:
    """Return the realised volatility of a horizon up to a time, from prices on the grid."""
    end = int(np.datetime64(matured_at.removesuffix("Z"), "s").astype(int)) - START_S
    # The price at the start of a minute belongs to that minute.
    last, first = end // STEP_S - 1, (end - int(horizon_s)) // STEP_S - 1
    total = math.fsum((logs[i + 1] - logs[i]) ** 2 for i in range(first, last))
    return math.sqrt(max(total, FLOOR * horizon_s / 60))


async def test_live_scores_equal_the_offline_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outcomes equal the realised volatility of prices; /quality is the mean over outcomes."""
    monkeypatch.chdir(tmp_path)
    logs = write_walk(tmp_path / "walk.ndjson")
    daemon, outcomes = await replayed(tmp_path / "walk.ndjson", 10_000)
    groups: dict[tuple[str, float], list[Any]] = defaultdict(list)
    for outcome in outcomes:
        groups[outcome["model_variant"], outcome["horizon_s"]].append(outcome)
        expected = realised(logs, outcome["matured_at"], outcome["horizon_s"])
        assert outcome["realised"] == pytest.approx(expected, rel=1e-9)
    rows = {
        (r["variant"], r["horizon_s"]): r
        for r in daemon.services.quality_monitor.report("X-USD")["symbols"]
    }
    assert set(rows) == set(groups) == {(v, h) for v in ("baseline", "ml") for h in HORIZONS_S}
    for key, found in groups.items():
        column = {name: np.array([o[name] for o in found], dtype=float) for name in found[0]
                  if name in ("realised", "sigma", "lo", "hi", "threshold", "score")}  # fmt: skip
        row, actual = rows[key], column["realised"]
        assert row["n"] == len({o["prediction_id"] for o in found}) == len(found)
        offline = qlike(actual**2, column["sigma"] ** 2).mean()
        assert row["qlike"] == pytest.approx(offline, rel=1e-9)
        covered = (actual >= column["lo"]) & (actual <= column["hi"])
        assert row["coverage"] == pytest.approx(covered.mean(), rel=1e-12)
        hit = actual > column["threshold"]
        assert row["brier"] == pytest.approx(((hit - column["score"]) ** 2).mean(), rel=1e-9)
    skill = 1 - rows["ml", 60.0]["qlike"] / rows["baseline", 60.0]["qlike"]
    assert rows["ml", 60.0]["skill"] == pytest.approx(skill, rel=1e-9)
    prediction_id = daemon.services.latest_store.get("X-USD").snapshot.prediction_id
    assert prediction_id is not None
    assert prediction_id.startswith("X-USD/2026-01-05T05:29:00")
    previous = prediction_id.replace("05:29:00", "05:28:00")
    assert previous in {outcome["prediction_id"] for outcome in outcomes}


async def test_a_planted_bad_model_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard stops a model that forecasts ten times the baseline's variance."""
    monkeypatch.chdir(tmp_path)
    write_walk(tmp_path / "walk.ndjson")
    parts = packaged().model.parameters
    daemon, outcomes = await replayed(
        tmp_path / "walk.ndjson", 240, TenfoldModel(parts, "9", "bad")
    )
    serving = daemon.services.holder.current
    assert (serving.model.variant, serving.requested) == ("baseline", "ml")
    assert "quality.fallback_ratio" in (serving.fallback_reason or "")
    assert daemon.services.quality_monitor.report()["guard"]["stopped"]
    assert daemon.services.holder.shadow is not None
    assert daemon.services.holder.shadow.version == "9"
    # The same outcomes by the baseline's own numbers: x/10 - ln(x/10) - 1 against x - ln x - 1.
    mine = {o["matured_at"]: o for o in outcomes if o["horizon_s"] == 60.0}
    base = [o for o in outcomes if o["horizon_s"] == 60.0 and o["model_variant"] == "baseline"]
    ratios = np.array([(o["realised"] / o["sigma"]) ** 2 for o in base])
    tenfold = float((ratios / 10 - np.log(ratios / 10) - 1).mean())
    report = daemon.services.quality_monitor.report("X-USD")
    (row,) = [r for r in report["symbols"] if (r["variant"], r["horizon_s"]) == ("ml", 60.0)]
    assert len(mine) == len(base)
    assert row["qlike"] == pytest.approx(tenfold, rel=1e-9)
    journal = (tmp_path / "var/journal/models.jsonl").read_text().splitlines()
    (fallback,) = [e for e in map(json.loads, journal) if e["kind"] == "fallback"]
    assert (fallback["trigger"], fallback["model"]) == ("guard", "baseline-2")
