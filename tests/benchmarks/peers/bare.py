"""The ceiling: aiohttp, uvloop and msgspec decode the body and answer a constant.

`/model` does what nobody can leave out of a large request: decode, numpy, one call of the model.
`/answered` writes the answer besides, with msgspec, and checks nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
from pathlib import Path

import msgspec
import numpy as np
import uvloop
from aiohttp import web

from volsvc.domain import Forecast
from volsvc.models import FEATURES, packaged
from volsvc.web.schemas.predict import RowPrediction

ANSWER = b'{"scores":[0.5],"model_variant":"constant","version":"1","ts":"2026-01-05T14:00:00Z"}'


class PostedRow(msgspec.Struct):
    """A row of a request."""

    ret_mean: float
    ret_std: float
    n: int
    span_s: float


class Body(msgspec.Struct):
    """A request body."""

    rows: list[PostedRow]


decode = msgspec.json.Decoder(Body).decode
encode = msgspec.json.Encoder().encode
JSON = "application/json"


async def predict(request: web.Request) -> web.Response:
    """Decode the body and answer a constant."""
    decode(await request.read())
    return web.Response(body=ANSWER, content_type=JSON)


# The documented answer to one row.
Prediction = msgspec.defstruct("Prediction", tuple(RowPrediction.model_fields), gc=False)


def modelled(body: bytes) -> Forecast:
    """Decode the body, fill a matrix, and call the packaged model once."""
    rows = decode(body).rows
    matrix = np.full((len(rows), len(FEATURES)), np.nan)
    matrix[:, 0] = [row.ret_mean for row in rows]
    matrix[:, 1] = [row.ret_std for row in rows]
    matrix[:, 2] = [row.n for row in rows]
    matrix[:, 3] = [row.span_s for row in rows]
    return packaged().model.predict(matrix, 60.0)


def written(forecast: Forecast) -> bytes:
    """Encode a forecast in the form of our answer."""
    sigma = np.sqrt(forecast.sigma2)
    columns = (sigma, sigma * 725.0, forecast.lo, forecast.hi, forecast.threshold)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    predictions = [Prediction(s, year, lo, hi, 0.9, limit, "ok") for s, year, lo, hi, limit in rows]
    return encode({"scores": forecast.p_spike.tolist(), "predictions": predictions})


async def model(request: web.Request) -> web.Response:
    """Decode, fill the matrix and forecast: the least that a large request needs."""
    modelled(await request.read())
    return web.Response(body=ANSWER, content_type=JSON)


async def answered(request: web.Request) -> web.Response:
    """Answer a large request, with the response encoded."""
    body = written(modelled(await request.read()))
    return web.Response(body=body, content_type=JSON)


def application(latest: bytes) -> web.Application:
    """Return the application; `latest` is the constant of GET /latest/{symbol}."""

    async def newest(request: web.Request) -> web.Response:
        return web.Response(body=latest, content_type=JSON)

    app = web.Application(client_max_size=2**24)
    app.add_routes(
        [
            web.post("/predict", predict),
            web.post("/model", model),
            web.post("/answered", answered),
            web.get("/latest/{symbol}", newest),
        ]
    )
    return app


async def serve(latest: bytes) -> None:
    """Serve until the process is ended."""
    runner = web.AppRunner(application(latest), access_log=None)
    await runner.setup()
    listening = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, listening).start()
    print(f"ready at http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latest", type=Path, help="the constant of /latest")
    options = parser.parse_args()
    uvloop.run(serve(options.latest.read_bytes() if options.latest else b"{}"))
