"""The name of a log of ticks, in which states have their offsets, and the errors if it changes."""

from __future__ import annotations

from volsvc.config.kafka import KafkaSettings
from volsvc.domain import BusError, BusUnavailableError


def log_name(topic: str, partitions: int) -> str:
    """Return the name of a log, such as `ticks.raw/6`: offsets of another one say nothing of it."""
    return f"{topic}/{partitions}"


def check_added(topic: str, known: int, partitions: int) -> None:
    """Raise BusUnavailableError if a client knows of more partitions than were looked up.

    The part then starts again and looks them up. `known` is the number in the metadata that a
    client refreshes by itself, so that this costs no request; it may be older than `partitions`,
    hence only more of them are news.
    """
    if known > partitions:
        raise BusUnavailableError(f"{topic} has more partitions than {partitions}")


def changed_partitions(settings: KafkaSettings, detail: str) -> BusError:
    """Return the error that `detail`, a changed number of partitions, is, with the remedy."""
    return BusError(
        f"{detail}: a symbol whose ticks go to another partition cannot keep its state. Do not add "
        f"partitions to {settings.topic} or {settings.features_topic}. Set kafka.topic to a new "
        "topic with kafka.partitions partitions, here and at every producer; the other topics and "
        "the group follow its name"
    )
