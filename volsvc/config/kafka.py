"""Settings of the broker and of our topics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field, PositiveFloat, PositiveInt, SecretStr, model_validator

from volsvc.config.base import Section

TICKS_TOPIC: Final = "ticks.raw"


class KafkaSecurity(Section):
    """TLS and SASL of connections to the broker; plain text by default."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    username: str = ""
    password: SecretStr = SecretStr("")
    ca_file: str = ""


class KafkaSettings(Section):
    """The broker, our topics, and the timing of the consumer group."""

    bootstrap_servers: str = "127.0.0.1:9092"
    topic: str = Field(TICKS_TOPIC, min_length=1)
    features_topic: str = Field("ticks.features", min_length=1)
    dead_letter_topic: str = Field("ticks.dlq", min_length=1)
    outcomes_topic: str = Field("ticks.outcomes", min_length=1)
    minutes_topic: str = Field("ticks.minutes", min_length=1)
    group_id: str = Field("volsvc", min_length=1)
    partitions: Annotated[int, Field(ge=1, le=10_000)] = 6
    replication_factor: Annotated[int, Field(ge=1, le=32)] = 1
    create_topics: bool = True
    # lz4 takes 240 µs for a features record, since aiokafka asks for its level 9; zstd takes 50 µs.
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "zstd"
    # At a third of the session two heartbeats may be lost; `Settings` checks a half, so that one
    # may be.
    session_timeout_ms: Annotated[int, Field(ge=500)] = 10_000
    heartbeat_interval_ms: Annotated[int, Field(ge=50)] = 3_000
    commit_interval_s: PositiveFloat = 1.0
    # Bounds the time in which new partitions wait for their state, and readiness for all symbols.
    restore_timeout_s: PositiveFloat = 60.0
    stall_timeout_s: PositiveFloat = 30.0
    # Full jitter between 0 and a ceiling that doubles from the first to the second value.
    retry_backoff_ms: PositiveInt = 100
    retry_backoff_max_ms: PositiveInt = 5_000
    request_timeout_ms: Annotated[int, Field(ge=1_000)] = 5_000
    security: KafkaSecurity = KafkaSecurity()

    @model_validator(mode="before")
    @classmethod
    def _names_of_topic(cls, data: Any) -> Any:
        """Derive the names that are not set from that of the ticks topic.

        They go together: states count in one topic of ticks, and so do the offsets of a group.
        """
        topic = data.get("topic") if isinstance(data, Mapping) else None
        if not isinstance(topic, str) or topic == TICKS_TOPIC:
            return data
        stem = topic.removesuffix(".raw")
        derived = {
            "features_topic": f"{stem}.features",
            "dead_letter_topic": f"{stem}.dlq",
            "outcomes_topic": f"{stem}.outcomes",
            "minutes_topic": f"{stem}.minutes",
            "group_id": f"volsvc.{stem}",
        }
        return {**derived, **data}
