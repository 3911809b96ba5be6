"""Our topics: those that are missing are created, and their numbers of partitions are compared.

A symbol's state counts in the partition of its ticks, up to an offset there. So it cannot follow
its symbol into another partition, nor into a topic of the same name that was created again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from volsvc.config.kafka import KafkaSettings
from volsvc.domain import BusError
from volsvc.transport.kafka.client import client_options, close_quietly
from volsvc.transport.partitions import changed_partitions

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


async def ensure_topics(settings: KafkaSettings, known: Mapping[str, int]) -> dict[str, int]:
    """Create our missing topics, and return the number of partitions of each.

    `known` are the numbers at an earlier call, none at the first. Raises BusError if a topic is
    missing and may not be created, or if the states in the features topic do not fit the topic of
    ticks: it has other partitions than they, or than before, or was deleted since.
    """
    admin = AIOKafkaAdminClient(**client_options(settings))
    names = _names(settings)
    try:
        async with asyncio.timeout(settings.request_timeout_ms / 1000):
            await admin.start()
        # Asked for by name, a missing topic might be created by the broker, in its own way.
        there = set(await admin.list_topics()).intersection(names)
        counts = await _counts(admin, there)
        missing = names - there
        if missing:
            _check_deleted(missing, known, settings)
            await _create(admin, _new_topics(settings, missing, counts), settings)
            counts |= await _counts(admin, missing)
    finally:
        await close_quietly(admin.close())
    _check_partitions(counts, known, settings)
    return counts


def _names(settings: KafkaSettings) -> set[str]:
    return {
        settings.topic,
        settings.features_topic,
        settings.dead_letter_topic,
        settings.outcomes_topic,
        settings.minutes_topic,
    }


async def _counts(admin: AIOKafkaAdminClient, names: Iterable[str]) -> dict[str, int]:
    described = await admin.describe_topics([*names]) if names else []
    return {topic["topic"]: len(topic["partitions"]) for topic in described}


def _new_topics(
    settings: KafkaSettings, missing: Iterable[str], counts: Mapping[str, int]
) -> list[NewTopic]:
    # With three replicas or more, an acknowledged record survives the loss of a broker.
    durable = {"min.insync.replicas": "2"} if settings.replication_factor > 2 else {}
    # Batches are stored as the producer compressed them, so the broker compresses nothing again.
    as_sent = {"compression.type": "producer", **durable}
    ticks, features = settings.topic, settings.features_topic
    # Of ticks and features one may be there already, and the other has to fit it.
    count = counts.get(ticks) or counts.get(features) or settings.partitions
    topics: Mapping[str, tuple[int, dict[str, str]]] = {
        ticks: (count, as_sent),
        features: (count, {**COMPACTED, **as_sent}),
        settings.dead_letter_topic: (1, durable),
        settings.outcomes_topic: (count, as_sent),
        settings.minutes_topic: (count, as_sent),
    }
    return [
        NewTopic(name, topics[name][0], settings.replication_factor, topic_configs=topics[name][1])
        for name in sorted(missing)
    ]


async def _create(
    admin: AIOKafkaAdminClient, missing: list[NewTopic], settings: KafkaSettings
) -> None:
    if not settings.create_topics:
        names = ", ".join(topic.name for topic in missing)
        raise BusError(
            f"topics are missing and kafka.create_topics is false: {names}; create them, or set "
            "kafka.create_topics = true"
        )
    response: Any = await admin.create_topics(missing)
    for name, code, *detail in response.topic_errors:
        error = for_code(code)
        if code == 0 or error is TopicAlreadyExistsError:
            # Another instance that started at the same time may have created it.
            continue
        if error.retriable:
            raise error(f"creating {name}: {detail}")
        raise BusError(f"topic {name} cannot be created: {error.__name__} {detail}")


def _check_deleted(
    missing: Iterable[str], known: Mapping[str, int], settings: KafkaSettings
) -> None:
    # Created again here, it would take ticks at offsets that the states hold already.
    if settings.topic in known and settings.topic in missing:
        raise BusError(
            f"{settings.topic} was deleted while it was in use, and the states in "
            f"{settings.features_topic} are of its ticks: delete {settings.features_topic} too "
            "and start again (symbols start as new), or set kafka.topic to another topic"
        )


def _check_partitions(
    counts: Mapping[str, int], known: Mapping[str, int], settings: KafkaSettings
) -> None:
    ticks, features = settings.topic, settings.features_topic
    if not all(counts.values()):
        # A TimeoutError is transient: the metadata of a new topic takes a while to spread.
        raise TimeoutError("the broker does not know the partitions of a new topic yet")
    for topic in (ticks, features):
        before = known.get(topic, counts[topic])
        if before != counts[topic]:
            change = f"{topic} had {before} partitions and has {counts[topic]} now"
            raise changed_partitions(settings, change)
    if counts[ticks] != counts[features]:
        raise changed_partitions(
            settings,
            f"{ticks} has {counts[ticks]} partitions but {features} has {counts[features]}, "
            "and they must have the same number",
        )
