"""Walk-forward evaluation: the purge of training rows, and a whole run on simulated markets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.simulated import START, garch, write_bars
from volsvc.commands.evaluation import EvaluateOptions, evaluate_models
from volsvc.commands.training import TrainOptions, train_model
from volsvc.config.settings import SettingsError, load_settings
from volsvc.domain.tick_columns import TickColumns
from volsvc.models import HORIZONS_S, PACKAGED, Baseline, packaged, read_artefact
from volsvc.training.dataset import Minutes, TrainingError, load_panel
from volsvc.training.fit import FitSpec, Sample, fit_head, sample
from volsvc.training.walkforward import DAY, Fold, folds, trailing_log_limit, walk_forward

DAYS = 12
SPEC = FitSpec(burn_in_minutes=DAY, trees=20, least_leaf=50)


def no_ticks(files: Sequence[Path]) -> Iterator[TickColumns]:
    raise AssertionError(f"{files} hold bars")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve days of two simulated markets, as CSV files of bars."""
    folder = tmp_path_factory.mktemp("bars")
    for seed, name in enumerate(("AAA-USD", "BBB-USD")):
        write_bars(folder / f"{name}.csv", garch(5e-4 * (1 + seed), DAYS * DAY, seed), seed)
    return folder


@pytest.fixture(scope="module")
def panel(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Minutes]:
    cache = tmp_path_factory.mktemp("cache")
    return load_panel(sorted(recordings.iterdir()), cache, no_ticks)


def test_folds_cover_the_test_period() -> None:
    """Folds cover the period without overlap; a short rest joins the last."""
    assert folds(0, 10, 4) == [Fold(0, 4), Fold(4, 8), Fold(8, 10)]
    assert folds(0, 9, 4) == [Fold(0, 4), Fold(4, 9)]
    assert folds(0, 3, 4) == [Fold(0, 3)]


@pytest.mark.parametrize("horizon", HORIZONS_S)
def test_training_rows_are_purged(panel: list[Minutes], horizon: float) -> None:
    """No training row's horizon reaches beyond the time of the fit."""
    end = START + 8 * DAY
    rows = sample(panel, horizon, end, SPEC)
    assert rows.minute.max() + horizon / 60 < end
    assert rows.minute.min() >= START + DAY


def test_the_spike_limit_is_causal(panel: list[Minutes]) -> None:
    """Outcomes before a time change the limit at that time, outcomes after it do not."""
    symbol = panel[0]
    at = np.arange(5 * DAY, 6 * DAY)
    scale = np.ones_like(symbol.variance)
    scale[6 * DAY + 1 :] = 100
    changed = replace(symbol, variance=symbol.variance * scale)
    louder = replace(symbol, variance=symbol.variance * scale[::-1])
    for horizon in HORIZONS_S[1:]:
        first = trailing_log_limit(symbol, horizon, at)
        assert (first == trailing_log_limit(changed, horizon, at)).all()
        assert (first < trailing_log_limit(louder, horizon, at)).all()


@pytest.mark.long
def test_train_and_evaluate(
    recordings: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Two fits give identical artefacts, and the evaluation writes its report and plots."""
    monkeypatch.setattr("volsvc.commands.training.FitSpec", lambda: SPEC)
    monkeypatch.setattr("volsvc.commands.evaluation.FitSpec", lambda: SPEC)
    monkeypatch.chdir(tmp_path)
    settings = load_settings(None, {})
    data = [recordings]
    options = TrainOptions(data, None, tmp_path / "a.npz", "7", None, register=False)
    train_model(settings, options)
    train_model(settings, replace(options, out=tmp_path / "b.npz", compare=tmp_path / "a.npz"))
    assert "identical to the other artefact" in capsys.readouterr().out
    artefact = read_artefact(tmp_path / "a.npz")
    assert artefact.model.version == "7"
    assert [item["symbol"] for item in artefact.facts["data"]] == ["AAA-USD", "BBB-USD"]
    assert set(artefact.facts["metrics"]["60"]) == {"ml", "baseline"}

    evaluation = EvaluateOptions(
        data=data,
        start="2026-01-14",
        after_days=None,
        end=None,
        refit_days=3,
        model=None,
        leave_one_out=True,
        anchors=("EWMA", "HAR", "log-HAR", "QLIKE-HAR", "QLIKE-HAR-5", "HExp"),
        title="Simulated",
        out=tmp_path / "report",
        command="volsvc evaluate",
    )
    pooled = evaluate_models(settings, evaluation)
    assert [scores.horizon_s for scores in pooled] == list(HORIZONS_S)
    assert all(0.8 < scores.calibration.coverage < 0.97 for scores in pooled)
    # On a GARCH market everything that is fitted to it is about equal.
    assert all(abs(scores.gain("EWMA")) < 0.5 for scores in pooled)
    names = {path.name for path in (tmp_path / "report").iterdir()}
    plots = {"forecast-against-realised.png", "reliability.png", "qlike-by-day.png"}
    assert names == {"report.md", "report.html", "scores.json"} | plots
    text = (tmp_path / "report" / "report.md").read_text()
    assert "Leaving one symbol out" in text
    assert "causality" in text
    assert "<table>" in (tmp_path / "report" / "report.html").read_text()
    figures = json.loads((tmp_path / "report" / "scores.json").read_text())
    assert {row["symbol"] for row in figures} == {"all", "AAA-USD", "BBB-USD"}


# MLflow's own.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.long
def test_a_fit_is_a_candidate(
    recordings: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is judged, registered, and serves nowhere, even where there is no champion yet."""
    # Imported here: MLflow takes seconds, which the other tests need not wait for.
    from volsvc.serving.mlflow_registry import Registry

    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.setattr("volsvc.commands.training.FitSpec", lambda: SPEC)
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "a.npz"
    options = TrainOptions([recordings], None, out, "7", None, register=True)
    train_model(load_settings(None, {}), options)
    said = capsys.readouterr().out
    for other in ("the baseline", f"the champion (ml-{packaged().model.version})"):
        assert re.search(rf"the candidate is .*{re.escape(other)}", said)
    assert "volsvc models promote 2\n" in said
    assert Registry(store, "volsvc").aliases() == {"baseline": "1"}


def test_a_span_before_a_symbol_began_is_empty(panel: list[Minutes]) -> None:
    """Spans without a minute of the symbol add no forecast; the others are as without them."""
    early, late = Fold(START - 9 * DAY, START - DAY), Fold(START + 8 * DAY, START + 9 * DAY)
    models, anchors = [Baseline()] * 2, ("EWMA", "HAR", "GARCH")
    both = walk_forward(panel[0], [early, late], models, anchors)
    alone = walk_forward(panel[0], [late], models[:1], anchors)
    for whole, part in zip(both, alone, strict=True):
        assert (whole.minute == part.minute).all()
        for name in ("volsvc", *anchors):
            assert (whole.variances[name] == part.variances[name]).all(), name
    assert len(alone[0].minute) == DAY
    (nothing, *_) = walk_forward(panel[0], [early], models[:1], anchors)
    assert len(nothing.minute) == 0


def judged(data: Sequence[Path], out: Path) -> EvaluateOptions:
    """Return the options of an evaluation of the packaged model, from the tenth day on."""
    return EvaluateOptions(
        data=data,
        start="2026-01-14",
        after_days=None,
        end=None,
        refit_days=3,
        model=PACKAGED,
        leave_one_out=False,
        anchors=("EWMA", "HAR"),
        title="",
        out=out,
        command="",
    )


def test_a_test_without_minutes_is_an_error(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spans of nothing and symbols that cannot be tested are named, not reported as NaN."""
    monkeypatch.chdir(tmp_path)
    settings, alone = load_settings(None, {}), [recordings / "AAA-USD.csv"]
    options = judged(alone, tmp_path / "report")
    for change, error, message in (
        ({"start": "2027-01-01"}, SettingsError, r"^--start: 2027-01-01T00:00:00"),
        ({"end": "2026-01-14"}, SettingsError, "is not before the end of the test"),
        ({"leave_one_out": True}, SettingsError, "^--leave-one-out: takes"),
        ({"start": None}, SettingsError, "^--start: takes the first day of the test, or"),
        ({"after_days": 9}, SettingsError, "^--start: takes the first day of the test, or"),
        (
            {"start": None, "after_days": 9, "model": None},
            SettingsError,
            "^--after-days: takes --model",
        ),
        ({"start": None, "after_days": 12}, SettingsError, "is not before the end of the test"),
        ({"start": "2026-01-05"}, TrainingError, "^AAA-USD: has 0 minutes before 2026-01-05"),
        ({"start": "2026-01-05T03:00:00Z"}, TrainingError, "has 180 minutes before"),
        ({"start": "2026-01-16T21:00:00Z"}, TrainingError, "and 180 from then to 2026-01-17"),
    ):
        with pytest.raises(error, match=message):
            evaluate_models(settings, replace(options, **change))
        assert not options.out.exists()


def test_each_recording_has_days_of_its_own(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --after-days recordings of other times are tested after as many days of their own."""
    monkeypatch.chdir(tmp_path)
    later = tmp_path / "BBB-USD.csv"
    later.write_text((recordings / "BBB-USD.csv").read_text().replace("2026-", "2025-"))
    data = [recordings / "AAA-USD.csv", later]
    options = replace(
        judged(data, tmp_path / "report"),
        start=None,
        after_days=9,
        refit_days=2,
        anchors=("EWMA", "HExp"),
    )
    pooled = evaluate_models(load_settings(None, {}), options)
    assert [scores.rows for scores in pooled] == [2 * (3 * DAY - h / 60) for h in HORIZONS_S]
    assert all(scores.best_har == "HExp" for scores in pooled)
    text = (tmp_path / "report" / "report.md").read_text()
    assert "from 9 days after the start of each recording on" in text


@pytest.mark.parametrize("kept", [0, 1, 99])
def test_too_few_rows_are_an_error(panel: list[Minutes], kept: int) -> None:
    """Long but nearly silent recordings are too little to fit on."""
    rows = sample(panel, 60.0, START + 8 * DAY, SPEC)
    rows = Sample(rows.scales[:kept], rows.realised[:kept], rows.minute[:kept])
    with pytest.raises(TrainingError, match=f"have {kept} minutes to fit 60 s on, .* takes 100$"):
        fit_head(rows, 60.0, SPEC)


@pytest.mark.long
def test_too_little_data_is_an_error(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve days are too few for the default settings of a fit."""
    monkeypatch.chdir(tmp_path)
    options = TrainOptions([recordings], None, tmp_path / "a.npz", "1", None, register=False)
    with pytest.raises(TrainingError, match="37 days"):
        train_model(load_settings(None, {}), options)
