"""Save the pipeline of the FastAPI stack in the form that `mlflow models serve` reads."""

from __future__ import annotations

import sys

import mlflow.sklearn

from tests.benchmarks.peers.fastapi_stack import fitted

if __name__ == "__main__":
    # Safe to unpickle: it was fitted a moment ago, and is served from this folder only.
    mlflow.sklearn.save_model(fitted(), sys.argv[1], serialization_format="cloudpickle")
    print('{"saved": true}')
