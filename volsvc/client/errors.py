"""The errors of a call: no answer, an unexpected answer, or a problem that the service reports.

Problems follow RFC 9457. There is a class for each reaction that a caller may want.
"""

from __future__ import annotations

from pydantic import ValidationError

from volsvc.domain import VolsvcError
from volsvc.web.schemas.base import ErrorItem, Problem

# Bytes of an unexpected body that are shown.
_SHOWN = 200


class ClientError(VolsvcError):
    """Base of the errors of calls."""


class UnreachableError(ClientError):
    """No answer or an incomplete one: nothing listens at the address, or it took too long."""


class UnexpectedAnswerError(ClientError):
    """An answer of something else than this service, or of a version that is not compatible."""


class AnswerError(ClientError):
    """A problem that the service reports; `problem` is its whole answer."""

    def __init__(self, problem: Problem, retry_after_s: float | None = None) -> None:
        """`retry_after_s` is the time to wait before the next attempt, if the service gives one."""
        super().__init__(f"{problem.title}: {problem.detail}")
        self.problem = problem
        self.retry_after_s = retry_after_s

    @property
    def kind(self) -> str:
        """The kind of problem, such as `unknown-symbol`: the last part of its type."""
        return self.problem.type.rpartition("/")[2]

    @property
    def status(self) -> int:
        """The HTTP status of the answer."""
        return self.problem.status


class InvalidRequestError(AnswerError):
    """The request is invalid; `errors` has its faults."""

    @property
    def errors(self) -> list[ErrorItem]:
        """The faults, each with a JSON pointer to its place in the request."""
        return self.problem.errors


class UnauthorizedError(AnswerError):
    """The key is missing, unknown or expired."""


class ForbiddenError(AnswerError):
    """The key lacks the required scope."""


class NotFoundError(AnswerError):
    """There is no such symbol or no data; the detail names similar symbols."""


class RefusedError(AnswerError):
    """The model cannot be activated; the active one is not changed."""


class BusyError(AnswerError):
    """The quota is used up, or the service is overloaded."""


class StaleDataError(AnswerError):
    """The newest data are older than `max_age_s`."""


class UnavailableError(AnswerError):
    """The service, or a proxy in front of it, fails at present."""


_BY_STATUS: dict[int, type[AnswerError]] = {
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: RefusedError,
    429: BusyError,
}
# Of the problems with status 503, this one concerns the data and not the service.
_BY_KIND: dict[str, type[AnswerError]] = {"stale-data": StaleDataError}


def error_of(status: int, body: bytes, retry_after_s: float | None) -> AnswerError:
    """Return the error of an answer; a proxy's page becomes a problem without a type."""
    problem = _problem(status, body)
    known = _BY_STATUS.get(status, InvalidRequestError if status < 500 else UnavailableError)
    kind = problem.type.rpartition("/")[2]
    return _BY_KIND.get(kind, known)(problem, retry_after_s)


def _problem(status: int, body: bytes) -> Problem:
    try:
        return Problem.model_validate_json(body, extra="ignore")
    except ValidationError:
        text = body[:_SHOWN].decode(errors="replace").strip()
        return Problem(
            type="about:blank",
            title=f"The answer is {status}",
            status=status,
            detail=text or "without a body",
            instance="",
            request_id="",
        )
