"""Functions that all our Kafka clients share: options, retries, and closing."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)

from volsvc.backoff import Backoff, asked_to_end, ends_within
from volsvc.config.kafka import KafkaSettings
from volsvc.domain import BusError
from volsvc.telemetry.logs import get_logger
from volsvc.transport.bus import BusEvents

log = get_logger(__name__)

T = TypeVar("T")

# Time for a client to close: a stop may not hang on a broker that does not answer.
CLOSE_S = 1.0
# Time within which a client notices that a topic has other partitions.
METADATA_MAX_AGE_MS = 30_000

# Raised by a client whose broker is away. KafkaError is a RuntimeError, and so is the error that
# uvloop raises for a connection that closed before aiokafka noticed, which aiokafka does not wrap.
TRANSIENT_ERRORS: Final = (RuntimeError, OSError, TimeoutError)

# Without IncompatibleBrokerVersion, which aiokafka raises also when a connection is lost before
# the broker has sent its API versions.
_FATAL_ERRORS = (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)


def client_options(settings: KafkaSettings) -> dict[str, Any]:
    """Return the options that producers, consumers and admin clients share."""
    security = settings.security
    options: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers,
        "client_id": "volsvc",
        "request_timeout_ms": settings.request_timeout_ms,
        "retry_backoff_ms": settings.retry_backoff_ms,
        "metadata_max_age_ms": METADATA_MAX_AGE_MS,
        "security_protocol": security.protocol,
    }
    if "SSL" in security.protocol:
        options["ssl_context"] = ssl.create_default_context(cafile=security.ca_file or None)
    if "SASL" in security.protocol:
        options["sasl_mechanism"] = security.mechanism
        options["sasl_plain_username"] = security.username
        options["sasl_plain_password"] = security.password.get_secret_value()
    return options


async def with_retries(
    part: str, attempt: Callable[[], Awaitable[T]], settings: KafkaSettings, events: BusEvents
) -> T:
    """Repeat `attempt` until the broker answers; raises BusError if no retry can succeed.

    The caller reports that the part works: a client that has connected has done nothing yet.
    """
    backoff = Backoff(settings.retry_backoff_ms / 1000, settings.retry_backoff_max_ms / 1000)
    while True:
        try:
            return await attempt()
        except _FATAL_ERRORS as error:
            raise BusError(f"Kafka refuses: {error}") from error
        except TRANSIENT_ERRORS as error:
            _raise_if_cancelled(error)
            events.connected(part, False, str(error) or type(error).__name__)
            await asyncio.sleep(backoff.delay_s())


def _raise_if_cancelled(error: Exception) -> None:
    # Before Python 3.12 `asyncio.wait_for`, which aiokafka uses, loses a cancellation that arrives
    # together with an error; the retries would then outlive the stop of the daemon.
    if asked_to_end():
        raise asyncio.CancelledError from error


async def cancel_on(event: asyncio.Event, work: Awaitable[T]) -> T | None:
    """Return the result of `work`, or cancel it and return None if `event` is set first."""
    task = asyncio.ensure_future(work)
    stopped = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        stopped.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


async def close_quietly(closing: Awaitable[Any]) -> None:
    """Await the closing of a client, for `CLOSE_S` at most, and log its errors."""
    try:
        ended = await ends_within(closing, CLOSE_S)
    except Exception as error:  # noqa: BLE001
        log.debug("kafka_client_left", error=repr(error))
    else:
        if not ended:
            log.debug("kafka_client_left", error=f"not closed in {CLOSE_S:g} s")
