"""The active model: which one answers, and how it is changed.

- `model_choice`: the rule that chooses it: the fitted model, the last good one, the baseline.
- `holder`: the active model, swapped in one step, and the one before it.
- `controller`: changes by operators, settings, and the registry's alias.
- `quality_guard`: stops a fitted model whose forecasts turn out worse than the baseline's.
- `candidate`: checks a new model before it may serve.
- `model_loader`, `artefact_cache`: versions of the registry, and their files on disk.
- `registry_client`: the registry as the daemon reads it; `mlflow_rest` and `mlflow_sqlite`.
- `registry_breaker`: growing pauses between polls of a registry that does not answer.
- `mlflow_registry`, `publish_packaged`, `pyfunc`: our models entered into MLflow.
- `audit_log`, `listeners`: the record of every change, in a file, the log, metrics and health.
- `factory`: all of it, built from settings.
"""
