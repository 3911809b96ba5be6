"""A client of the service, for asyncio (`AsyncClient`) and for plain code (`Client`).

It speaks the schemas of the server, tries again where that may help, and goes on with a stream
where it broke. Examples: docs/client.md.
"""

from volsvc.client.asynchronous import AsyncClient
from volsvc.client.blocking import Client
from volsvc.client.errors import (
    AnswerError,
    BusyError,
    ClientError,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    RefusedError,
    StaleDataError,
    UnauthorizedError,
    UnavailableError,
    UnexpectedAnswerError,
    UnreachableError,
)
from volsvc.client.events import Event
from volsvc.client.retries import Retries
from volsvc.web.schemas.live import HorizonPrediction, LatestResponse
from volsvc.web.schemas.models import ModelsResponse
from volsvc.web.schemas.predict import PredictResponse, Row
from volsvc.web.schemas.stream import DriftFound, Dropped, Gap, ModelChange, Resync

__all__ = [
    "AnswerError",
    "AsyncClient",
    "BusyError",
    "Client",
    "ClientError",
    "DriftFound",
    "Dropped",
    "Event",
    "ForbiddenError",
    "Gap",
    "HorizonPrediction",
    "InvalidRequestError",
    "LatestResponse",
    "ModelChange",
    "ModelsResponse",
    "NotFoundError",
    "PredictResponse",
    "RefusedError",
    "Resync",
    "Retries",
    "Row",
    "StaleDataError",
    "UnauthorizedError",
    "UnavailableError",
    "UnexpectedAnswerError",
    "UnreachableError",
]
