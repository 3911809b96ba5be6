"""A client of the service, for asyncio (`AsyncClient`) and for plain code (`Client`).

Answers are typed by the server's schemas. Calls are retried where that may help, and a broken
stream is resumed. Examples are in docs/client.md.

- `asynchronous`, `blocking`: the two clients.
- `calls`: the calls of the service as values.
- `http_session`: sends one request; `retries` decides on another attempt.
- `events`: parses Server-Sent Events.
- `errors`: the errors, by the type of problem.
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
from volsvc.web.schemas.past import (
    EventsResponse,
    MinutesResponse,
    OutcomesResponse,
    TrackRecordResponse,
)
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
    "EventsResponse",
    "ForbiddenError",
    "Gap",
    "HorizonPrediction",
    "InvalidRequestError",
    "LatestResponse",
    "MinutesResponse",
    "ModelChange",
    "ModelsResponse",
    "NotFoundError",
    "OutcomesResponse",
    "PredictResponse",
    "RefusedError",
    "Resync",
    "Retries",
    "Row",
    "StaleDataError",
    "TrackRecordResponse",
    "UnauthorizedError",
    "UnavailableError",
    "UnexpectedAnswerError",
    "UnreachableError",
]
