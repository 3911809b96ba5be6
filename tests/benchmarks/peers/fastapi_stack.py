"""The usual stack: FastAPI, uvicorn, pydantic, and a scikit-learn pipeline."""

from __future__ import annotations

import socket
from datetime import UTC, datetime

import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, Field
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler


class PostedRow(BaseModel):
    """A row of a request."""

    ret_mean: float
    ret_std: float = Field(ge=0)
    n: int = Field(ge=1)
    span_s: float | None = None


class Body(BaseModel):
    """A request body."""

    rows: list[PostedRow] = Field(min_length=1, max_length=10_000)


class Answer(BaseModel):
    """A response body."""

    scores: list[float]
    model_variant: str
    version: str
    ts: datetime


def fitted() -> Pipeline:
    """Return a fitted scaler and logistic regression of three features."""
    rng = np.random.default_rng(7)
    rows = np.column_stack(
        (rng.normal(0, 1e-6, 5_000), rng.gamma(2.0, 1e-5, 5_000), np.full(5_000, 49.0))
    )
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, rows[:, 1] > 3e-5)


app, pipeline = FastAPI(), fitted()


@app.get("/health")
def health() -> dict[str, str]:
    """Answer the health check."""
    return {"status": "ok"}


@app.post("/predict")
async def predict(body: Body) -> Answer:
    """Call the pipeline once a request."""
    matrix = np.array([(row.ret_mean, row.ret_std, row.n) for row in body.rows])
    scores = pipeline.predict_proba(matrix)[:, 1].tolist()
    return Answer(scores=scores, model_variant="ml", version="1", ts=datetime.now(UTC))


if __name__ == "__main__":
    listening = socket.create_server(("127.0.0.1", 0))
    print(f"ready at http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    config = uvicorn.Config(app, access_log=False, log_level="warning")
    uvicorn.Server(config).run([listening])
