"""What a call may fail with: no answer, an answer that is none, or a problem that the service has.

Problems are RFC 9457; each class stands for what a caller would do about it.
"""

from __future__ import annotations

from pydantic import ValidationError

from volsvc.domain import VolsvcError
from volsvc.web.schemas.base import ErrorItem, Problem

_SHOWN = 200


class ClientError(VolsvcError):
    """Base of what calls raise."""


class UnreachableError(ClientError):
    """No answer came, or only a part of one: nobody listens, or it took too long."""


class UnexpectedAnswerError(ClientError):
    """What answers is not this service, or a version that this client cannot read."""


class AnswerError(ClientError):
    """The service says no; `problem` has all that it says."""

    def __init__(self, problem: Problem, retry_after_s: float | None = None) -> None:
        """`retry_after_s` is the time that the service asks to be left in peace."""
        super().__init__(f"{problem.title}: {problem.detail}")
        self.problem = problem
        self.retry_after_s = retry_after_s

    @property
    def kind(self) -> str:
        """The kind of problem, such as `unknown-symbol`: the end of its type."""
        return self.problem.type.rpartition("/")[2]

    @property
    def status(self) -> int:
        """The status of the answer."""
        return self.problem.status


class InvalidRequestError(AnswerError):
    """The request is wrong, and stays so: `errors` points at its faults."""

    @property
    def errors(self) -> list[ErrorItem]:
        """The faults, each with a JSON pointer to its place."""
        return self.problem.errors


class UnauthorizedError(AnswerError):
    """The key is missing, unknown or expired."""


class ForbiddenError(AnswerError):
    """The key lacks the scope that is needed."""


class NotFoundError(AnswerError):
    """No such symbol, or nothing to show; the detail names symbols that are alike."""


class RefusedError(AnswerError):
    """The model must not serve; what served before goes on."""


class BusyError(AnswerError):
    """The quota is used up, or others came first."""


class StaleDataError(AnswerError):
    """What is known is older than `max_age_s`."""


class UnavailableError(AnswerError):
    """The service, or something on the way to it, does not work now."""


_BY_STATUS: dict[int, type[AnswerError]] = {
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: RefusedError,
    429: BusyError,
}
_BY_KIND: dict[str, type[AnswerError]] = {"stale-data": StaleDataError}


def error_of(status: int, body: bytes, retry_after_s: float | None) -> AnswerError:
    """The error that an answer stands for; a proxy's page becomes a problem without a type."""
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
