"""Writes models to an MLflow registry, under one name, with an alias for each variant.

Importing MLflow costs seconds and 300 MB, so the daemon runs this module in a process of its own:
`python -m volsvc.serving.mlflow_registry NAME` adds the packaged models to a registry that lacks
them.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

# By default MLflow's client retries a call for four minutes. They are set before the import, which
# starts its telemetry.
HTTP_LIMITS: Final = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
}
for _name, _value in HTTP_LIMITS.items():
    os.environ.setdefault(_name, _value)

import mlflow  # noqa: E402
from mlflow.entities.model_registry import ModelVersion  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.models.signature import ModelSignature  # noqa: E402
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema  # noqa: E402

import volsvc  # noqa: E402
from volsvc.domain import VolsvcError  # noqa: E402
from volsvc.models import FEATURES, HORIZONS_S, PACKAGED, Artefact, Baseline, packaged  # noqa: E402
from volsvc.serving.registry_client import DIGEST_TAG, VARIANT_TAG  # noqa: E402

EXPERIMENT: Final = "volsvc"
OUTPUTS: Final = ("sigma", "lo", "hi", "threshold", "score")


class RegistryError(VolsvcError):
    """The registry cannot be reached, or refuses a call."""


@dataclass(frozen=True)
class Candidate:
    """A model to register; `artefact` is None for the baseline."""

    variant: str
    digest: str
    artefact: Path | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    documents: Sequence[Path] = ()


def candidates_of(
    artefact: Artefact, path: Path, documents: Sequence[Path] = ()
) -> list[Candidate]:
    """Return the baseline and a fitted model, with the metrics of their comparison."""
    metrics = artefact.facts.get("metrics", {})
    by_variant = {
        variant: {
            f"{name}_{horizon}s": value
            for horizon, figures in metrics.items()
            for name, value in figures.get(variant, {}).items()
        }
        for variant in ("baseline", "ml")
    }
    baseline = Candidate("baseline", Baseline().digest, metrics=by_variant["baseline"])
    facts = {name: value for name, value in artefact.facts.items() if name != "metrics"}
    digest = artefact.model.digest
    return [baseline, Candidate("ml", digest, path, by_variant["ml"], facts, documents)]


def signature() -> ModelSignature:
    """Return MLflow's signature: named features in, forecasts out, the horizon a parameter."""
    inputs = Schema([ColSpec(DataType.double, name, required=False) for name in FEATURES])
    outputs = Schema([ColSpec(DataType.double, name) for name in OUTPUTS])
    horizon = ParamSpec("horizon_s", DataType.double, HORIZONS_S[0])
    return ModelSignature(inputs, outputs, ParamSchema([horizon]))


class Registry:
    """One registered model of an MLflow registry. Errors of MLflow become RegistryError."""

    def __init__(self, tracking_uri: str, name: str) -> None:
        self._uri = tracking_uri
        self._name = name
        mlflow.set_tracking_uri(tracking_uri)
        self._client = mlflow.MlflowClient(tracking_uri)

    def find(self, candidate: Candidate) -> ModelVersion | None:
        """Return the newest version with the digest of this model, or None."""
        query = f"name = '{self._name}'"
        versions = self._client.search_model_versions(query)
        mine = [v for v in versions if v.tags.get(DIGEST_TAG) == candidate.digest]
        return max(mine, key=lambda v: int(v.version)) if mine else None

    def register(self, candidate: Candidate) -> str:
        """Log a model unless the registry has it, and return its version; no alias is set."""
        with _refusals():
            return str((self.find(candidate) or self._log(candidate)).version)

    def add(self, candidate: Candidate) -> str:
        """Register a model, and set its variant's alias only if there is none; return the version.

        A new instance of a fleet thus does not move an alias that an operator has set.
        """
        with _refusals():
            version = self.register(candidate)
            if candidate.variant not in self.aliases():
                self._client.set_registered_model_alias(self._name, candidate.variant, version)
        return version

    def aliases(self) -> dict[str, str]:
        """Return versions by alias."""
        with _refusals():
            aliases = self._client.get_registered_model(self._name).aliases
        return {alias: str(version) for alias, version in aliases.items()}

    def promote(self, version: str, variant: str = "ml") -> None:
        """Point a variant's alias at a version, which every daemon that follows it loads."""
        with _refusals():
            self._client.get_model_version(self._name, version)
            self._client.set_registered_model_alias(self._name, variant, version)

    def _log(self, candidate: Candidate) -> ModelVersion:
        self._set_experiment()
        with mlflow.start_run(run_name=f"{candidate.variant}-{candidate.digest[:12]}"):
            mlflow.log_metrics(dict(candidate.metrics))
            mlflow.log_params(_flat(candidate.facts))
            mlflow.set_tags({"variant": candidate.variant, DIGEST_TAG: candidate.digest})
            mlflow.log_dict(dict(candidate.facts), "facts.json")
            for document in candidate.documents:
                mlflow.log_artifact(str(document), "report")
            info = mlflow.pyfunc.log_model(
                name="model",
                # A path instead of an object: MLflow copies the code and pickles nothing.
                python_model=str(Path(__file__).with_name("pyfunc.py")),
                artifacts={"artefact": str(candidate.artefact)} if candidate.artefact else {},
                signature=signature(),
                pip_requirements=[f"volsvc=={volsvc.__version__}"],
            )
        tags = {DIGEST_TAG: candidate.digest, VARIANT_TAG: candidate.variant}
        return mlflow.register_model(info.model_uri, self._name, tags=tags)

    def _set_experiment(self) -> None:
        if self._client.get_experiment_by_name(EXPERIMENT) is None:
            folder = local_artifacts(self._uri)
            self._client.create_experiment(EXPERIMENT, folder.as_uri() if folder else None)
        mlflow.set_experiment(EXPERIMENT)


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except MlflowException as error:
        raise RegistryError(f"the registry refuses: {error.message}") from error


def local_artifacts(tracking_uri: str) -> Path | None:
    """Return the folder for artefacts of a local store, beside its database; None for a server."""
    prefix = "sqlite:///"
    if not tracking_uri.startswith(prefix):
        return None
    return Path(tracking_uri.removeprefix(prefix)).resolve().with_name("mlartifacts")


def _flat(facts: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested facts as parameters with dotted names: of lists the lengths.

    Values are cut at 500 characters. All of them are in facts.json; a request to a registry takes a
    hundred parameters.
    """
    flat: dict[str, str] = {}
    for key, value in facts.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            flat[f"{prefix}{key}"] = str(len(value))
        else:
            flat[f"{prefix}{key}"] = str(value)[:500]
    return flat


def main() -> None:
    """Add the packaged models; the argument is the name, MLFLOW_TRACKING_URI the registry."""
    try:
        registry = Registry(os.environ["MLFLOW_TRACKING_URI"], sys.argv[1])
        candidates = candidates_of(packaged(), PACKAGED)
        versions = {c.variant: registry.add(c) for c in candidates}
    except RegistryError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    print(json.dumps(versions))


if __name__ == "__main__":
    main()
