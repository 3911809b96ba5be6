"""Functions that all our Kafka clients share: options, retries, closing, and our topics."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    SaslAuthenticationFailed,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
    for_code,
)

from volsvc.backoff import Backoff, asked_to_end
from volsvc.config.kafka import KafkaSettings
from volsvc.domain import BusError
from volsvc.telemetry.logs import get_logger
from volsvc.transport.bus import BusEvents

log = get_logger(__name__)

T = TypeVar("T")

# Time for a client to close: a stop may not hang on a broker that does not answer.
CLOSE_S = 1.0

# Of the features topic: old states are removed soon, so that a restore is short, yet none within
# the minute in which its owner may still have to write it again (decision 0008 in
# docs/decisions).
COMPACTED: Final = {
    "cleanup.policy": "compact",
    "min.compaction.lag.ms": "60000",
    "max.compaction.lag.ms": "600000",
    "min.cleanable.dirty.ratio": "0.1",
    "segment.ms": "120000",
    "segment.bytes": str(64 * 1024 * 1024),
}

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
        "metadata_max_age_ms": 30_000,
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
    """Repeat `attempt` until the broker answers; raises BusError if no retry can succeed."""
    backoff = Backoff(settings.retry_backoff_ms / 1000, settings.retry_backoff_max_ms / 1000)
    while True:
        try:
            result = await attempt()
        except _FATAL_ERRORS as error:
            raise BusError(f"Kafka refuses: {error}") from error
        except TRANSIENT_ERRORS as error:
            _raise_if_cancelled(error)
            events.connected(part, False, str(error) or type(error).__name__)
            await asyncio.sleep(backoff.delay_s())
        else:
            events.connected(part, True, "")
            return result


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
        async with asyncio.timeout(CLOSE_S):
            await closing
    except asyncio.CancelledError:
        # The client's own tasks may end cancelled; that is no request to end this one.
        if asked_to_end():
            raise
    except Exception as error:  # noqa: BLE001
        log.debug("kafka_client_left", error=repr(error))


async def ensure_topics(settings: KafkaSettings) -> dict[str, int]:
    """Create our missing topics, and return the number of partitions of each.

    Raises BusError if a topic is missing and may not be created, or if the topics of ticks and
    features differ in their number of partitions.
    """
    admin = AIOKafkaAdminClient(**client_options(settings))
    try:
        async with asyncio.timeout(settings.request_timeout_ms / 1000):
            await admin.start()
        wanted = _new_topics(settings)
        missing = [t for t in wanted if t.name not in await admin.list_topics()]
        if missing:
            await _create(admin, missing, settings)
        described = await admin.describe_topics([topic.name for topic in wanted])
    finally:
        await close_quietly(admin.close())
    counts = {topic["topic"]: len(topic["partitions"]) for topic in described}
    _check_partitions(counts, settings)
    return counts


def _new_topics(settings: KafkaSettings) -> list[NewTopic]:
    # With three replicas or more, an acknowledged record survives the loss of a broker.
    durable = {"min.insync.replicas": "2"} if settings.replication_factor > 2 else {}
    # Batches are stored as the producer compressed them, so the broker compresses nothing again.
    as_sent = {"compression.type": "producer", **durable}
    topics: tuple[tuple[str, int, dict[str, str]], ...] = (
        (settings.topic, settings.partitions, as_sent),
        (settings.features_topic, settings.partitions, {**COMPACTED, **as_sent}),
        (settings.dead_letter_topic, 1, durable),
        (settings.outcomes_topic, settings.partitions, as_sent),
    )
    return [
        NewTopic(name, count, settings.replication_factor, topic_configs=configs)
        for name, count, configs in topics
    ]


async def _create(
    admin: AIOKafkaAdminClient, missing: list[NewTopic], settings: KafkaSettings
) -> None:
    if not settings.create_topics:
        names = ", ".join(topic.name for topic in missing)
        raise BusError(f"topics are missing and kafka.create_topics is false: {names}")
    response: Any = await admin.create_topics(missing)
    for name, code, *detail in response.topic_errors:
        error = for_code(code)
        if code == 0 or error is TopicAlreadyExistsError:
            # Another instance that started at the same time may have created it.
            continue
        if error.retriable:
            raise error(f"creating {name}: {detail}")
        raise BusError(f"topic {name} cannot be created: {error.__name__} {detail}")


def _check_partitions(counts: dict[str, int], settings: KafkaSettings) -> None:
    ticks, features = counts[settings.topic], counts[settings.features_topic]
    if 0 in (ticks, features):
        # A TimeoutError is transient: the metadata of a new topic takes a while to spread.
        raise TimeoutError("the broker does not know the partitions of a new topic yet")
    if ticks != features:
        raise BusError(
            f"{settings.topic} has {ticks} partitions but {settings.features_topic} has "
            f"{features}: a symbol's state is kept in the partition of its ticks, so they must "
            "have the same number"
        )
