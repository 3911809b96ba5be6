"""Training and serving give identical results for the same ticks."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.daemon import eventually
from volsvc.commands.files import generate_file
from volsvc.config.settings import Settings, load_settings
from volsvc.daemon.daemon import Daemon
from volsvc.daemon.listeners import PartsListener
from volsvc.domain import FeatureRow
from volsvc.domain.tick_columns import TickColumns
from volsvc.features import HORIZON_MINUTES, SCALE_NAMES, SymbolTable, apply_recording
from volsvc.features.kernels.points import MINUTE
from volsvc.models import HORIZONS_S, SymbolForecasts, packaged
from volsvc.models.base import matrix_of_scales
from volsvc.models.columns import SCALES_FROM
from volsvc.scoring.scores import FITTED, VARIANTS
from volsvc.sources.factory import file_source
from volsvc.telemetry.health import Health
from volsvc.telemetry.metrics import Metrics
from volsvc.training.dataset import load_panel

SYMBOLS = ("BTC-USD", "ETH-USD")
MINUTES = 75


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ticks") / "ticks.ndjson"
    generate_file(path, minutes=MINUTES, seed=11, symbols=SYMBOLS, start="2026-01-05T14:00:00Z")
    return path


def settings_of(recording: Path, folder: Path) -> Settings:
    return load_settings(
        None,
        {
            "service": {"data_dir": str(folder)},
            "source": {"path": str(recording)},
            "replay": {"speed": "max"},
            "http": {"port": 0},
            "model": {"import_packaged": False},
        },
    )


async def run_daemon(settings: Settings, until: dict[str, FeatureRow]) -> Daemon:
    """Run a daemon over the whole recording, stop it and return it."""
    daemon = Daemon(settings)
    stop = asyncio.Event()
    run = asyncio.create_task(daemon.run(stop, lambda url: None))

    async def done() -> bool:
        rows = (entry.snapshot.row for entry in daemon.services.latest_store)
        shown = {row.symbol: row for row in rows}
        return shown == until

    await eventually(done, 60, "the recording is taken in")
    stop.set()
    await run
    return daemon


@pytest.mark.long
async def test_rows_and_forecasts_are_equal_to_the_bit(recording: Path, tmp_path: Path) -> None:
    """Rows of the training data and forecasts of /latest are equal to the last bit."""
    settings = settings_of(recording, tmp_path)
    model = packaged().model

    # The trainer's path.
    def ticks_of(files: Sequence[Path]) -> Iterator[TickColumns]:
        return file_source(settings, files, PartsListener(Metrics(), Health())).columns()

    panel = {s.symbol: s for s in load_panel([recording], tmp_path / "cache", ticks_of)}
    table = SymbolTable(settings.features)
    parts = [a.points.copy() for a in apply_recording(table, ticks_of([recording]), Counter())]
    points = np.concatenate(parts)
    forecasts = SymbolForecasts(
        table, model, np.concatenate([points, table.newest(table.rows)]), HORIZONS_S
    )
    forecasts.settle_all()

    daemon = await run_daemon(settings, {s.symbol: s.row for s in table if s.row is not None})
    for place, row in enumerate(table.rows.tolist()):
        symbol = table.symbol(row)
        minutes, served = panel[symbol], daemon.services.table.get(symbol)
        ours = np.log(model.variances(matrix_of_scales(minutes.scales), HORIZONS_S))
        # Forecasts that the daemon issued at the last minutes, by minute modulo horizon; those of
        # a horizon come after those of the shorter ones.
        issued = served.record.learnt.calibrations[VARIANTS.index(FITTED)].issued
        for column, horizon in enumerate(HORIZON_MINUTES):
            first = sum(HORIZON_MINUTES[:column])
            for index in range(len(minutes) - horizon, len(minutes)):
                slot = first + (minutes.start + index) % horizon
                assert issued[slot] == ours[index, column]

        ended = points[(points["kind"] == MINUTE) & (points["symbol"] == row)]
        assert ended["features"][:, SCALES_FROM:].tobytes() == minutes.scales.tobytes()
        assert served.record.learnt.scores.variants[1].tobytes() == (
            table.records[row].learnt.scores.variants[1].tobytes()
        )
        expected = forecasts.point_forecast(len(points) + place, HORIZONS_S[0]).snapshot()
        shown = daemon.services.latest_store.get(symbol).snapshot
        assert shown == expected
        assert set(shown.features) == set(SCALE_NAMES)
        assert all(value is not None for value in shown.features.values())
        assert shown.variant == "ml"
