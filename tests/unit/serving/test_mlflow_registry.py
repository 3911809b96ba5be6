"""Models are written to a store of MLflow: once, with their facts, and under an alias."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
import yaml
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

import volsvc
from volsvc.models import FEATURES, PACKAGED, Artefact, Baseline, packaged
from volsvc.serving import mlflow_registry as module
from volsvc.serving.mlflow_registry import (
    Candidate,
    Registry,
    RegistryError,
    candidates_of,
    local_artifacts,
    main,
    signature,
)

# MLflow's own, not ours.
pytestmark = pytest.mark.filterwarnings("ignore")

NAME = "ours"
DIGEST = "0123456789abcdef" * 4
FACTS = {
    "spec": {"seed": 7, "grid": [0.5, [1, "two"]]},
    "data": [{"sha256": "abc", "rows": 10}, {"sha256": "def"}],
    "note": "x" * 600,
}
PARAMETERS = {
    "spec.seed": "7",
    "spec.grid": "2",
    "data": "2",
    "note": "x" * 500,
}


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield the address of an empty store in files, which needs no tables."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    # MLflow sets these itself, for children of the process.
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    yield (tmp_path / "store").as_uri()
    mlflow.set_tracking_uri("")


@pytest.fixture
def registry(uri: str) -> Registry:
    """An empty registry."""
    return Registry(uri, NAME)


@pytest.fixture
def client(uri: str) -> mlflow.MlflowClient:
    """MLflow's own client of the same store."""
    return mlflow.MlflowClient(uri)


def candidate(digest: str = DIGEST, variant: str = "ml") -> Candidate:
    return Candidate(variant, digest)


def run_of(client: mlflow.MlflowClient, version: ModelVersion) -> Run:
    return client.get_run(str(version.run_id))


def files_below(folder: Path) -> dict[str, Path]:
    return {str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file()}


def path_of(uri: str | None) -> Path:
    assert uri is not None
    return Path(uri.removeprefix("file://"))


# --- what is registered -------------------------------------------------------------------


def test_a_model_with_everything(
    registry: Registry, client: mlflow.MlflowClient, tmp_path: Path
) -> None:
    """Version, tags, run, facts, documents, code, artefact and signature; no alias is set."""
    artefact, document = tmp_path / "fit.npz", tmp_path / "figures.md"
    artefact.write_bytes(PACKAGED.read_bytes())
    document.write_text("# Figures")
    metrics = {"qlike_60s": 0.25, "brier_60s": 0.5}
    assert registry.register(Candidate("ml", DIGEST, artefact, metrics, FACTS, [document])) == "1"
    assert registry.aliases() == {}
    version = client.get_model_version(NAME, "1")
    assert version.tags == {"volsvc.digest": DIGEST, "volsvc.variant": "ml"}
    run = run_of(client, version)
    assert run.info.run_name == "ml-0123456789ab"
    assert run.info.status == "FINISHED"
    assert client.get_experiment(run.info.experiment_id).name == "volsvc"
    assert run.data.metrics == metrics
    assert run.data.params == PARAMETERS
    ours = {k: v for k, v in run.data.tags.items() if not k.startswith("mlflow.")}
    assert ours == {"variant": "ml", "volsvc.digest": DIGEST}
    logged = files_below(path_of(run.info.artifact_uri))
    assert json.loads(logged.pop("facts.json").read_text()) == FACTS
    assert logged.pop("report/figures.md").read_text() == "# Figures"
    assert logged == {}
    check_model(path_of(client.get_model_version_download_uri(NAME, "1")), artefact)


def check_model(folder: Path, artefact: Path | None) -> None:
    """Check the files of a version: our code, the artefact, and MLflow's own."""
    files = files_below(folder)
    code = Path(module.__file__).with_name("pyfunc.py")
    assert files["pyfunc.py"].read_text() == code.read_text()
    needed = files["requirements.txt"].read_text().split()
    assert [line for line in needed if not line.startswith("mlflow==")] == [
        f"volsvc=={volsvc.__version__}"
    ]
    arrays = {name: path.read_bytes() for name, path in files.items() if name.endswith(".npz")}
    assert arrays == ({f"artifacts/{artefact.name}": artefact.read_bytes()} if artefact else {})
    about = yaml.safe_load(files["MLmodel"].read_text())
    flavour = about["flavors"]["python_function"]
    assert list(flavour.get("artifacts") or {}) == (["artefact"] if artefact else [])
    assert about["signature"] == signature().to_dict()


def test_the_baseline_has_no_artefact(registry: Registry, client: mlflow.MlflowClient) -> None:
    """Its version holds the code alone, and MLflow can load it."""
    assert registry.register(candidate(variant="baseline")) == "1"
    folder = path_of(client.get_model_version_download_uri(NAME, "1"))
    check_model(folder, None)
    assert run_of(client, client.get_model_version(NAME, "1")).data.params == {}
    mlflow.pyfunc.load_model(str(folder))
    (logged,) = client.search_logged_models(
        [client.get_experiment_by_name("volsvc").experiment_id]  # type: ignore[union-attr]
    )
    assert logged.name == "model"


def test_columns_and_parameters_are_named(uri: str) -> None:
    """Every feature may be missing; the horizon is a parameter, a minute by default."""
    inputs, outputs, params = (
        json.loads(signature().to_dict()[k]) for k in ("inputs", "outputs", "params")
    )
    assert inputs == [{"type": "double", "name": name, "required": False} for name in FEATURES]
    names = ("sigma", "lo", "hi", "threshold", "score")
    assert outputs == [{"type": "double", "name": name, "required": True} for name in names]
    horizon = {"name": "horizon_s", "type": "double", "default": 60.0, "shape": None}
    assert params == [horizon]


def test_the_candidates_of_an_artefact() -> None:
    """Each variant has its own figures of their comparison; the rest belongs to the fitted one."""
    metrics = {
        "60": {"baseline": {"qlike": 1.0, "brier": 2.0}, "ml": {"qlike": 3.0}},
        "300": {"baseline": {"qlike": 4.0}, "other": {"qlike": 5.0}},
    }
    model = packaged().model
    facts = {"spec": {"seed": 1}, "data": []}
    artefact = Artefact(model, {**facts, "metrics": metrics})
    documents = [Path("a.md")]
    figures = {"qlike_60s": 1.0, "brier_60s": 2.0, "qlike_300s": 4.0}
    assert candidates_of(artefact, PACKAGED, documents) == [
        Candidate("baseline", Baseline().digest, None, figures, {}, ()),
        Candidate("ml", model.digest, PACKAGED, {"qlike_60s": 3.0}, facts, documents),
    ]
    bare = candidates_of(Artefact(model), PACKAGED)
    assert [(c.metrics, c.facts, c.documents) for c in bare] == [({}, {}, ()), ({}, {}, ())]


# --- versions and aliases -----------------------------------------------------------------


def test_a_model_is_logged_once(registry: Registry, client: mlflow.MlflowClient) -> None:
    """It is found by its digest."""
    other = "f" * 64
    assert [registry.register(candidate(d)) for d in (DIGEST, other, DIGEST)] == ["1", "2", "1"]
    assert registry.aliases() == {}
    assert len(client.search_model_versions(f"name = '{NAME}'")) == 2


def test_an_alias_that_is_set_is_not_moved(registry: Registry) -> None:
    """A new instance of a fleet adds what is missing, and no more."""
    assert registry.add(candidate(variant="baseline")) == "1"
    assert registry.add(candidate("f" * 64)) == "2"
    assert registry.aliases() == {"baseline": "1", "ml": "2"}
    assert registry.add(candidate("e" * 64)) == "3"
    assert registry.add(candidate("f" * 64)) == "2"
    assert registry.aliases() == {"baseline": "1", "ml": "2"}


def test_the_newest_version_of_a_digest_is_found(
    registry: Registry, client: mlflow.MlflowClient, tmp_path: Path
) -> None:
    """Versions are compared as numbers; those of other models and digests do not count."""
    assert registry.find(candidate()) is None
    for name, digests in (("others", [DIGEST] * 12), (NAME, [DIGEST] * 10 + ["f" * 64])):
        client.create_registered_model(name)
        for digest in digests:
            tags = {"volsvc.digest": digest}
            client.create_model_version(name, tmp_path.as_uri(), tags=tags)
    found = registry.find(candidate())
    assert found is not None
    assert (found.name, str(found.version)) == (NAME, "10")
    assert registry.find(candidate("0" * 64)) is None


def test_an_operator_promotes_a_version(registry: Registry) -> None:
    """The alias of `ml` moves, or that of another variant."""
    for digest in (DIGEST, "f" * 64):
        registry.register(candidate(digest))
    registry.promote("1")
    assert registry.aliases() == {"ml": "1"}
    registry.promote("2", "baseline")
    assert registry.aliases() == {"ml": "1", "baseline": "2"}


@pytest.mark.parametrize("version", ["9", "x"])
def test_a_version_that_is_not_there_is_not_promoted(version: str, registry: Registry) -> None:
    """The alias stays; the error has MLflow's reason."""
    registry.add(candidate())
    with pytest.raises(RegistryError, match=r"^the registry refuses: .+"):
        registry.promote(version)
    assert registry.aliases() == {"ml": "1"}


def test_a_model_that_is_not_registered_has_no_aliases(registry: Registry) -> None:
    """MLflow says which one it is."""
    with pytest.raises(RegistryError, match=f"the registry refuses: .*{NAME}"):
        registry.aliases()


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("sqlite:////data/var/mlflow.db", Path("/data/var/mlartifacts")),
        ("sqlite:///mlflow.db", Path("mlartifacts").absolute()),
        ("http://registry:5000", None),
        ("file:///data/mlruns", None),
    ],
)
def test_artefacts_of_a_local_store_lie_beside_it(uri: str, expected: Path | None) -> None:
    """Those of a server are the server's."""
    assert local_artifacts(uri) == expected


@pytest.mark.parametrize("beside", [True, False], ids=["local", "of a server"])
def test_artefacts_are_put_into_their_folder(
    beside: bool,
    uri: str,
    client: mlflow.MlflowClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those of a local store beside it, whatever directory is current, and others as it likes."""
    folder = tmp_path / "our artefacts"
    places = {uri: folder if beside else None}
    # In place of a store with tables, which take seconds to make.
    monkeypatch.setattr(module, "local_artifacts", places.__getitem__)
    Registry(uri, NAME).register(candidate(variant="baseline"))
    experiment = client.get_experiment_by_name("volsvc")
    assert experiment is not None
    assert (experiment.artifact_location == folder.as_uri()) == beside
    assert folder.exists() == beside


# --- the process --------------------------------------------------------------------------


def run_main(monkeypatch: pytest.MonkeyPatch, uri: str, *arguments: str) -> Any:
    """Return the exit code of the process that registers the packaged models."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setattr(sys, "argv", ["mlflow_registry", *arguments])
    try:
        main()
    except SystemExit as end:
        return end.code
    return 0


def test_the_packaged_models_are_added(
    uri: str,
    client: mlflow.MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The last line tells their versions; a second time they are found."""
    for _ in range(2):
        assert run_main(monkeypatch, uri, NAME) == 0
        last = capsys.readouterr().out.splitlines()[-1]
        assert json.loads(last) == {"baseline": "1", "ml": "2"}
    version = client.get_model_version_by_alias(NAME, "ml")
    assert version.tags["volsvc.digest"] == packaged().model.digest
    run = run_of(client, version)
    assert "held_out_qlike_60.0s" in run.data.metrics or run.data.metrics
    check_model(path_of(client.get_model_version_download_uri(NAME, "2")), PACKAGED)


def test_a_refusal_ends_the_process_with_its_reason(
    uri: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reason is on standard error, where the daemon looks for it."""
    assert run_main(monkeypatch, uri, "a/name") == 1
    out, err = capsys.readouterr()
    assert "the registry refuses: " in err
    assert "refuses" not in out
    assert os.environ["MLFLOW_TRACKING_URI"] == uri
