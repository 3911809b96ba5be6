"""Metrics of the path of a tick: its source, its symbol, and the Kafka topics.

Counters of ticks are updated once a batch: an increment costs more than the rest of a tick's work.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from volsvc.config.live import LIVE_KINDS
from volsvc.telemetry.series import start_at_zero

DELAY_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)
# Other producers may write any name of a source to the topic; `other` bounds the label.
SOURCES: Final = (*sorted(LIVE_KINDS), "csv", "generator", "ndjson", "parquet", "other")
# Ticks that change no feature and are no fault of their record.
SKIPPED: Final = ("bad_print", "duplicate", "late")
# Faults of a record; each but `row`, which only files have, is also a reason of dead letters.
FAULTS: Final = (
    *("future", "id", "json", "key", "max_symbols", "not_a_tick", "null", "price", "quote"),
    *("row", "size", "symbol", "time", "too_large", "unknown_symbol", "version"),
)
REJECTIONS: Final = (*SKIPPED, *FAULTS)
# Reasons for which a connection to a venue ends; `data` and `heartbeat` did not come in time.
FEED_REASONS: Final = (
    "closed",
    "connect",
    "data",
    "heartbeat",
    "protocol",
    "refused",
    "too_large",
    "unconfirmed",
)
# Kinds of messages of a venue; a `known_trade` is a trade inside a message that came before.
FEED_MESSAGES: Final = (
    *("data", "duplicate", "error", "heartbeat", "known_trade", "malformed", "reordered"),
    *("reset", "unasked"),
)


class TickMetrics:
    """Ticks by source and outcome, and the state of each symbol's feed."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter = partial(Counter, registry=registry)
        gauge = partial(Gauge, registry=registry)
        self.processed = counter("volsvc_ticks", "Ticks processed into features", ("source",))
        start_at_zero(self.processed, SOURCES)
        self.published = counter("volsvc_ticks_published", "Ticks put on the bus")
        self.rejected = counter(
            "volsvc_ticks_rejected", "Ticks and rows that were not processed", ("reason",)
        )
        start_at_zero(self.rejected, REJECTIONS)
        self.gaps = counter("volsvc_feed_gaps", "Gaps in a symbol's feed", ("symbol",))
        self.duplicates = counter(
            "volsvc_feed_duplicates", "Ticks of a symbol that had come before", ("symbol",)
        )
        self.late = counter(
            "volsvc_feed_late", "Ticks of a symbol older than its newest", ("symbol",)
        )
        self.future = counter(
            "volsvc_feed_future", "Ticks of a symbol from a clock far ahead", ("symbol",)
        )
        self.bad_prints = counter(
            "volsvc_feed_bad_prints", "Ticks of a symbol left out for their price", ("symbol",)
        )
        self.symbols = gauge("volsvc_symbols", "Symbols in the table")
        self.replay_lateness = gauge(
            "volsvc_replay_lateness_seconds", "How far a paced replay is behind its schedule"
        )

    def count_processed(self, by_source: Mapping[str, int]) -> None:
        """Count processed ticks by source."""
        for source, count in by_source.items():
            self.processed.labels(source if source in SOURCES else "other").inc(count)

    def forget(self, symbol: str) -> None:
        """Remove the series of a symbol that is no longer kept."""
        # Unlike `remove`, this does not raise for a symbol that has no series in a family.
        counters = (self.gaps, self.duplicates, self.late, self.future, self.bad_prints)
        for family in counters:
            family.remove_by_labels({"symbol": symbol})


class FeedMetrics:
    """Connections, messages and delays of a live feed; all 0 for other sources."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter = partial(Counter, registry=registry)
        self.connected = Gauge(
            "volsvc_feed_connected",
            "1 while every connection to the venue delivers; 0 for a source that is not live",
            registry=registry,
        )
        self.reconnects = counter(
            "volsvc_feed_reconnects", "Connections that ended, or could not be opened", ("reason",)
        )
        start_at_zero(self.reconnects, FEED_REASONS)
        self.messages = counter("volsvc_feed_messages", "What the venue sent", ("kind",))
        start_at_zero(self.messages, FEED_MESSAGES)
        self.missed = counter(
            "volsvc_feed_missed", "Messages and trades that were lost for good", ("kind",)
        )
        start_at_zero(self.missed, ("messages", "trades"))
        self.backfilled = counter(
            "volsvc_feed_backfilled_trades", "Missed trades fetched over REST"
        )
        self.warmed = counter(
            "volsvc_feed_symbols_warmed",
            "Symbols that began with candles of the venue, or cold without any",
            ("outcome",),
        )
        start_at_zero(self.warmed, ("warmed", "cold"))
        self.rest = counter("volsvc_feed_rest_requests", "REST requests", ("outcome",))
        start_at_zero(self.rest, ("ok", "throttled", "failed"))
        self.delay = Histogram(
            "volsvc_tick_delay_seconds",
            "Time from a tick's event to its receipt",
            buckets=DELAY_BUCKETS,
            registry=registry,
        )
        self.negative_delay = counter(
            "volsvc_negative_delay",
            "Ticks received before their event by our clock; their delay counts as 0",
        )


class KafkaMetrics:
    """The connection to the broker, consumer lag, and records lost or set aside."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter = partial(Counter, registry=registry)
        self._lag = _LagCollector()
        registry.register(self._lag)
        self.connected = Gauge(
            "volsvc_kafka_connected",
            "1 while every client part reaches the broker",
            registry=registry,
        )
        self.retries = counter(
            "volsvc_kafka_retries", "Attempts that the broker did not answer", ("part",)
        )
        self.rebalances = counter("volsvc_kafka_rebalances", "Changes of the assignment")
        self.lost = counter(
            "volsvc_kafka_lost_records", "Records that retention deleted before they were read"
        )
        self.rewrites = counter(
            "volsvc_state_rewrites", "States written again over those of a stale owner"
        )
        self.dead_letters = counter(
            "volsvc_dlq_records", "Records sent to the dead-letter topic", ("reason",)
        )
        start_at_zero(self.dead_letters, FAULTS)

    def set_lag(self, topic: str, lags: Mapping[int, tuple[int, float | None]]) -> None:
        """Set the lag of a topic, in records and seconds, by partition.

        A partition that is missing has no series; seconds that are None have none either.
        """
        self._lag.by_topic[topic] = lags


class _LagCollector(Collector):
    """Lag by topic and partition, without a series where it is unknown.

    A gauge would keep the last value, or start at a false 0.
    """

    def __init__(self) -> None:
        self.by_topic: dict[str, Mapping[int, tuple[int, float | None]]] = {}

    def collect(self) -> Iterable[GaugeMetricFamily]:
        records = self._family("records", "Records between a partition's end and what is processed")
        seconds = self._family("seconds", "Age of the newest processed record while others wait")
        # A copy, because the metrics are rendered in a thread while the event loop adds topics.
        for topic, lags in list(self.by_topic.items()):
            for partition, (count, age_s) in lags.items():
                records.add_metric((topic, str(partition)), count)
                if age_s is not None:
                    seconds.add_metric((topic, str(partition)), age_s)
        yield from (records, seconds)

    @staticmethod
    def _family(unit: str, text: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(
            f"volsvc_kafka_consumer_lag_{unit}", text, labels=("topic", "partition")
        )
