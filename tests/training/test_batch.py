"""Batch scoring: the rows of `volsvc forecast`."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.daemon import command
from tests.reading import bars_in, ticks_in
from tests.simulated import START, garch, write_bars
from volsvc.config.settings import load_settings
from volsvc.domain import parse_time
from volsvc.domain.tick_columns import columns_of_ticks
from volsvc.features import MINUTE_NS, SymbolTable, apply_recording
from volsvc.features.kernels.minutes import BAR
from volsvc.models import HORIZONS_S, SymbolForecasts, packaged
from volsvc.sources.recordings.tables.csv_text import csv_text
from volsvc.training.batch import COLUMNS, BatchPoints, bar_points, forecast_columns
from volsvc.training.dataset import load_panel
from volsvc.training.walkforward import model_variances

MINUTES = 4_000
Rows = Sequence[Mapping[str, str]]


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bars of a simulated market with minutes without trades and a gap of 90 minutes."""
    path = tmp_path_factory.mktemp("bars") / "AAA-USD.csv"
    write_bars(path, garch(5e-4, MINUTES, seed=5), seed=5)
    head, *rows = path.read_text().splitlines()
    kept = [row for i, row in enumerate(rows) if i % 11 and not 2_000 <= i < 2_090]
    path.write_text("\n".join([head, *kept]))
    return path


async def forecast(folder: Path, *arguments: str, name: str = "out.csv") -> Rows:
    code, out, err = await command("forecast", *arguments, "--out", name, cwd=folder)
    assert (code, out) == (0, ""), err
    with (folder / name).open() as file:
        return list(csv.DictReader(file))


async def test_bars_have_the_forecasts_of_the_walk_forward(bars: Path, tmp_path: Path) -> None:
    """Sigma at the end of every minute equals that of the walk-forward, to the bit."""
    rows = await forecast(tmp_path, "--data", str(bars))
    assert tuple(rows[0]) == COLUMNS
    (symbol,) = load_panel([bars], tmp_path / "cache", lambda path: iter(()))
    model = packaged().model
    expected = np.sqrt(model_variances(model, symbol, np.arange(len(symbol))))
    keys = {(row["ts"], float(row["horizon_s"])) for row in rows}
    assert len(keys) == len(rows)
    for row in rows:
        minute = parse_time(row["ts"]) // MINUTE_NS - 1 - symbol.start
        column = HORIZONS_S.index(float(row["horizon_s"]))
        assert float(row["sigma"]) == expected[minute, column]
        assert float(row["lo"]) < float(row["sigma"]) < float(row["hi"])
        assert 0 <= float(row["p_spike"]) <= 1
        named = row["symbol"], row["model_variant"], row["version"]
        assert named == ("AAA-USD", "ml", model.version)
    (recorded,) = bars_in(bars).values()
    ends = {bar.minute + 1 for bar in recorded}
    forecast_at = {parse_time(ts) // MINUTE_NS for ts, _ in keys}
    assert ends <= forecast_at
    assert START + 2_060 not in forecast_at
    assert {row["quality"] for row in rows} == {"ok", "warming"}


@pytest.mark.long
async def test_rows_do_not_depend_on_later_bars(bars: Path, tmp_path: Path) -> None:
    """A recording that is cut short has the first rows of the whole one."""
    cut = tmp_path / "AAA-USD.csv"
    cut.write_text("\n".join(bars.read_text().splitlines()[:1_500]))
    whole = await forecast(tmp_path, "--data", str(bars), "--every", "300")
    part = await forecast(tmp_path, "--data", str(cut), "--every", "300", name="part.csv")
    assert len(part) > 1_000
    assert part == whole[: len(part)]
    assert all(parse_time(row["ts"]) % (5 * MINUTE_NS) == 0 for row in whole)


def test_rows_do_not_depend_on_the_chunk(bars: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are the same for any number of points in a call of the model."""
    recorded = np.array(next(iter(bars_in(bars).values()))[:400], BAR)
    results = []
    for chunk, size in ((4_096, 1), (4_096, 7), (4_096, 512), (64, 64), (71, 64)):
        monkeypatch.setattr("volsvc.training.batch.CHUNK", chunk)
        points = split(bar_points("AAA-USD", recorded, 60), size)
        parts = forecast_columns(packaged().model, points, HORIZONS_S, bars=True)
        results.append("".join(csv_text(list(part.values())) for part in parts))
    assert results[0].count("\n") > 4 * 400
    assert all(rows == results[0] for rows in results)


def split(parts: Iterator[BatchPoints], size: int) -> Iterator[BatchPoints]:
    for table, points in parts:
        for first in range(0, len(points), size):
            yield BatchPoints(table, points[first : first + size])


async def test_ticks_have_the_forecasts_of_the_daemon(recording: Path, tmp_path: Path) -> None:
    """At each grid time the forecast is that of a daemon with the ticks before it and no other."""
    rows = await forecast(tmp_path, "--data", str(recording), "--every", "20", "--horizon", "300")
    model = packaged().model
    settings = load_settings(None)
    ticks = ticks_in(recording)
    for row in rows[:: len(rows) // 7]:
        time_ns = parse_time(row["ts"])
        assert time_ns % (20 * 10**9) == 0
        table = SymbolTable(settings.features)
        before = [t for t in ticks if t.symbol == row["symbol"] and t.time_ns < time_ns]
        for applied in apply_recording(table, [columns_of_ticks(before)], Counter()):
            SymbolForecasts(table, model, applied.points, HORIZONS_S).settle_all()
        live = SymbolForecasts(table, model, table.newest(table.rows), HORIZONS_S)
        live.settle_all()
        (expected,) = (p for p in live.point_forecast(0, 300.0).predictions if p.horizon_s == 300)
        found = [float(row[n]) for n in ("sigma", "lo", "hi", "p_spike", "threshold")]
        wanted = [expected.sigma, expected.lo, expected.hi, expected.score, expected.threshold]
        assert found == wanted


@pytest.mark.long
async def test_formats_and_models(bars: Path, tmp_path: Path) -> None:
    """Parquet and CSV hold the same rows; the baseline and other horizons can be chosen."""
    arguments = ("--data", str(bars), "--every", "3600", "--model", "baseline", "--horizon", "1800")
    rows = await forecast(tmp_path, *arguments)
    code, _, err = await command("forecast", *arguments, "--out", "out.parquet", cwd=tmp_path)
    assert code == 0, err
    frame = pd.read_parquet(tmp_path / "out.parquet").astype(str)
    assert frame.to_dict("records") == rows
    assert {row["model_variant"] for row in rows} == {"baseline"}
    assert {row["horizon_s"] for row in rows} == {"1800.0"}


@pytest.mark.parametrize(
    ("arguments", "code", "fault"),
    [
        (("--data", "none.csv", "--out", "x.csv"), 1, "none.csv"),
        (("--data", ".", "--out", "x.csv"), 1, "the folder holds no recording"),
        (("--data", "a.csv", "--out", "x.csv", "--model", "no.npz"), 1, "no.npz"),
        (("--data", "a.csv", "--out", "x.csv", "--every", "0"), 2, "--every"),
        (("--data", "a.csv", "--out", "x.csv", "--horizon", "0"), 2, "--horizon"),
    ],
)
async def test_usage_errors_are_one_line(
    tmp_path: Path, arguments: tuple[str, ...], code: int, fault: str
) -> None:
    """A command that cannot run prints one line and writes nothing."""
    found, out, err = await command("forecast", *arguments, cwd=tmp_path)
    assert (found, out) == (code, "")
    assert fault in err
    assert "Traceback" not in err
    assert not (tmp_path / "x.csv").exists()
