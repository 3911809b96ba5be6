"""Recordings without a tick or a bar: every command names the file, and writes nothing."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from volsvc.commands.digests import digests_file, verify_files
from volsvc.commands.drift import DriftOptions, drift
from volsvc.commands.evaluation import EvaluateOptions, evaluate_models
from volsvc.commands.files import features_file
from volsvc.commands.forecasting import ForecastOptions, forecast_file
from volsvc.commands.replaying import replay_files
from volsvc.commands.training import TrainOptions, train_model
from volsvc.config.settings import Settings, load_settings
from volsvc.daemon.daemon import Daemon
from volsvc.domain import SourceError
from volsvc.models import HORIZONS_S

TICK, BAR = "symbol,time,price", "symbol,ts,open,high,low,close,volume"
TEXTS = {
    "nothing.csv": "",
    "line-end.csv": "\n",
    "header.csv": f"{TICK}\n",
    "invalid.csv": f"{TICK}\nBTC-USD,soon,1\nBTC-USD,2026-01-05T00:00:00Z,-1\n",
    "nothing.ndjson": "",
    "invalid.ndjson": '{"type": "heartbeat"}\n',
    "bars.csv": f"{BAR}\n",
    "bars-without-symbol.csv": f"{BAR}\n,2026-01-05T00:00:00Z,1,1,1,1,1\n",
    "bars-of-nothing.csv": f"{BAR}\nBTC-USD,2026-01-05T00:00:00Z,,,,,\n",
}
PACKED = ("nothing.csv.gz", "nothing.ndjson.zst")
TABLES = {"ticks.parquet": TICK, "bars.parquet": BAR}


@pytest.fixture(params=[*TEXTS, *PACKED, "member.csv.gz", *TABLES])
def empty(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    name: str = request.param
    if name in TABLES:
        columns = TABLES[name].split(",")
        pd.DataFrame({column: pd.Series(dtype="str") for column in columns}).to_parquet(name)
    else:
        packed = gzip.compress(b"") if name == "member.csv.gz" else b""
        Path(name).write_bytes(TEXTS[name].encode() if name in TEXTS else packed)
    return Path(name)


def evaluated(settings: Settings, file: Path) -> None:
    names = ("EWMA", "HAR")
    start, out = "2026-01-06", Path("report")
    options = EvaluateOptions([file], start, None, None, 9, None, False, names, "", out, "")
    evaluate_models(settings, options)


COMMANDS: dict[str, Callable[[Settings, Path], object]] = {
    "features": lambda settings, file: features_file(settings, [file], Path("x.csv"), "text"),
    "digests": lambda settings, file: digests_file(settings, [file], Path("x.ndjson")),
    "verify": lambda _, file: verify_files(file, file),
    "forecast": lambda settings, file: forecast_file(
        settings, ForecastOptions([file], Path("x.csv"), 60, HORIZONS_S, "ml", "text")
    ),
    "replay": lambda settings, file: asyncio.run(
        replay_files(settings, [file], asyncio.Event(), "text")
    ),
    "run": lambda _, file: Daemon(load_settings(None, {"source": {"path": str(file)}})),
    "train": lambda settings, file: train_model(
        settings, TrainOptions([file], None, Path("x.npz"), "1", None, register=False)
    ),
    "evaluate": evaluated,
    "drift": lambda settings, file: drift(
        settings, DriftOptions([], [file], None, Path("x.html"), None, Path("x.md"))
    ),
    "drift --reference": lambda settings, file: drift(
        settings, DriftOptions([file], [], None, None, Path("x.npz"), None)
    ),
}


@pytest.mark.long
def test_every_command_names_the_file(empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each raises the error that the command line prints as one line, without a result."""
    for name, command in COMMANDS.items():
        with pytest.raises(SourceError) as raised:
            command(load_settings(None), empty)
        text = str(raised.value)
        assert text.startswith(f"{empty}:") or "no symbol was seen" in text, (name, text)
        assert "\n" not in text, name
        assert text[-2:] != ": ", name
        assert capsys.readouterr().out == "", name
        assert not list(Path().glob("x.*")), name
        assert not Path("report").exists(), name


def test_a_selection_of_no_symbol_of_the_file_is_named(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ticks of other symbols alone are as good as none; the setting is named."""
    monkeypatch.chdir(tmp_path)
    settings = load_settings(None, {"source": {"symbols": ["DOGE-USD"]}})
    for name in ("features", "digests", "forecast", "train", "drift"):
        with pytest.raises(SourceError, match=r"holds no tick of source\.symbols = DOGE-USD"):
            COMMANDS[name](settings, recording)
        assert not list(tmp_path.glob("x.*")), name


def test_a_recording_too_short_for_a_row_writes_no_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seconds of ticks close no minute and reach no grid time: no empty table pretends it."""
    monkeypatch.chdir(tmp_path)
    ticks = "\n".join(f"BTC-USD,2026-01-05T00:00:0{second}Z,100" for second in range(1, 9))
    Path("short.csv").write_text(f"{TICK}\n{ticks}\n")
    settings = load_settings(None)
    for ending in ("csv", "ndjson", "parquet"):
        out = Path(f"x.{ending}")
        with pytest.raises(SourceError, match=f"^{out}: is not written"):
            digests_file(settings, [Path("short.csv")], out)
        options = ForecastOptions([Path("short.csv")], out, 60, HORIZONS_S, "ml", "text")
        with pytest.raises(SourceError, match=f"^{out}: is not written"):
            forecast_file(settings, options)
        assert not out.exists()
