"""The composition root: builds the parts of a daemon from settings.

Only this module, and the factories that it calls, name concrete implementations.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import volsvc
from volsvc.config.settings import Settings
from volsvc.daemon.computed_metrics import ComputedMetrics
from volsvc.daemon.data_folder import DataFolder
from volsvc.daemon.instance_name import InstanceName
from volsvc.daemon.listeners import PartsListener
from volsvc.daemon.stream_events import keep_event, publish_drift, publish_gap, publish_model_event
from volsvc.drift.monitor import DriftMonitor, build_drift_monitor
from volsvc.features import SymbolTable
from volsvc.pipeline.consumer import Consumer
from volsvc.pipeline.event_hub import EventHub
from volsvc.pipeline.features_follower import FeaturesFollower
from volsvc.pipeline.forecaster import Forecaster
from volsvc.pipeline.history_follower import HistoryFollower
from volsvc.pipeline.latest_store import LatestStore
from volsvc.pipeline.output_publisher import Outputs
from volsvc.pipeline.producer import Producer
from volsvc.pipeline.quality_monitor import QualityMonitor
from volsvc.serving.factory import build_controller, build_holder, open_audit_log
from volsvc.serving.listeners import ModelListener
from volsvc.sources.base import KnownTick, Source
from volsvc.sources.factory import build_source
from volsvc.store import Feed, Minutes, Retention, Store, StoreError, StoreReader
from volsvc.telemetry.health import Health
from volsvc.telemetry.metrics import Metrics
from volsvc.telemetry.tracing import Tracer, build_tracer
from volsvc.transport import Bus
from volsvc.transport.factory import build_bus
from volsvc.web.app import create_app
from volsvc.web.auth.api_keys import Keyring
from volsvc.web.server.server import Server
from volsvc.web.services import Services

# Shares of shutdown_timeout_s for published ticks and for requests in flight. The rest is for
# closing the clients of a broker that may not answer.
CONSUMER_SHARE, SERVER_SHARE = 0.4, 0.3


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a daemon, built and connected; none of them runs yet.

    A part is None if the roles or the transport do not need it.
    """

    services: Services
    listener: PartsListener
    bus: Bus
    data_folder: DataFolder
    instance_name: InstanceName | None
    store: Store | None
    producer: Producer | None
    consumer: Consumer | None
    server: Server | None
    follower: FeaturesFollower | None
    history: HistoryFollower | None

    @property
    def remembering(self) -> Consumer | None:
        """The consumer, if it begins with states that the store has kept."""
        return self.consumer if self.store and not self.history else None


def build_parts(settings: Settings) -> Parts:
    """Build the parts of a daemon.

    Raises SettingsError, SourceError or StartupError if one cannot be built.
    """
    keyring, tracer = Keyring(settings.auth), build_tracer(settings)
    metrics, health, hub = Metrics(), Health(), EventHub(settings.http.stream_ring)
    listener = PartsListener(metrics, health, partial(publish_gap, hub))
    roles = settings.service.roles
    # Before the folder, so that a daemon that cannot start leaves nothing on disk.
    # What is known is asked when the source begins, once the states are restored.
    source = (
        build_source(settings, listener, listener.feed, lambda s: _newest_tick(services.table, s))
        if "producer" in roles
        else None
    )
    folder = DataFolder(settings.service.data_dir)
    with ExitStack() as undo:
        undo.callback(folder.release)
        store = _open_store(settings, source, folder, listener)
        on_kafka = settings.bus.transport == "kafka"
        if store:
            hub.keep = partial(keep_event, store, commits=not on_kafka)
        services = _build_services(
            settings, keyring, tracer, metrics, health, hub, folder, store.reader if store else None
        )
        name = InstanceName(settings.service.instance_id) if on_kafka else None
        keeper = None if on_kafka else store
        bus = build_bus(settings, listener, name.name if name else "", keeper)
        topic, minutes = settings.kafka.topic, settings.kafka.minutes_topic
        consumer = _build_consumer(services, bus, store) if "consumer" in roles else None
        server = _build_server(services) if "api" in roles else None
        parts = Parts(
            services,
            listener,
            bus,
            folder,
            name,
            store,
            producer=Producer(source, bus, topic, metrics, tracer) if source else None,
            consumer=consumer,
            server=server,
            follower=_build_follower(services, bus, consumer, server),
            history=HistoryFollower(bus, minutes, store) if on_kafka and store else None,
        )
        undo.pop_all()
    return parts


def _newest_tick(table: SymbolTable, symbol: str) -> KnownTick | None:
    if symbol not in table:
        return None
    state = table.get(symbol)
    row = state.row
    return None if row is None else KnownTick(row.time_ns, row.price, state.newest_trade_id)


def _open_store(
    settings: Settings, source: Source | None, folder: DataFolder, listener: PartsListener
) -> Store | None:
    """Return what keeps the past, and in process also the states; None if nothing does."""
    feed = _feed(settings, source)
    if feed is None or not settings.store.enabled:
        return None
    fault = folder.fault
    if not fault:
        kafka, kept = settings.kafka, settings.store
        bounds = Retention(kept.retention_days, kept.max_bytes)
        try:
            return Store(settings.store_file, feed, kafka.features_topic, bounds, listener)
        except StoreError as error:
            fault = str(error)
    listener.store("degraded", f"nothing is remembered: {fault}")
    return None


def _feed(settings: Settings, source: Source | None) -> Feed | None:
    """Return the market of which this process has a past to keep; None if there is none."""
    kafka, roles, fresh = settings.kafka, settings.service.roles, settings.store.fresh
    if settings.bus.transport == "kafka":
        # Of every symbol, whoever consumes it: that of those who answer.
        return Feed(f"kafka {kafka.topic}", kafka.partitions, fresh) if "api" in roles else None
    consumed = source is not None and "consumer" in roles
    return Feed(source.feed, kafka.partitions, fresh) if source and consumed else None


def _build_services(
    settings: Settings,
    keyring: Keyring,
    tracer: Tracer,
    metrics: Metrics,
    health: Health,
    hub: EventHub,
    folder: DataFolder,
    past: StoreReader | None,
) -> Services:
    registry = metrics.registry
    latest_store = LatestStore(hub.publish, lambda: hub.watched)
    # Whoever does not own the folder does not write to the log in it.
    audit_log, fault = (None, folder.fault) if folder.fault else open_audit_log(settings)
    health.report("journal", "degraded" if fault else "ok", fault)
    model_listener = ModelListener(metrics, health, audit_log)
    holder = build_holder(settings, (model_listener, partial(publish_model_event, hub)))
    # The monitor and the table need each other; the monitor reads the table only when it runs.
    drift = build_drift_monitor(
        settings, health, registry, lambda: table.qualities(), partial(publish_drift, hub)
    )
    evicted = partial(_forget, latest_store, metrics, drift)
    table = SymbolTable(settings.features, evicted, settings.quality.window_days)
    horizon_s = settings.model.horizon_s
    quality_monitor = QualityMonitor(table, latest_store, holder, settings.quality, horizon_s)
    registry.register(quality_monitor)
    registry.register(ComputedMetrics(table, latest_store, health))
    metrics.process.build_info.labels(volsvc.__version__, settings.service.git_sha).set(1)
    return Services(
        settings=settings,
        holder=holder,
        latest_store=latest_store,
        table=table,
        health=health,
        metrics=metrics,
        controller=build_controller(settings, holder, model_listener),
        quality_monitor=quality_monitor,
        audit_log=audit_log,
        keyring=keyring,
        hub=hub,
        drift=drift,
        tracer=tracer,
        past=past,
    )


def _forget(
    latest_store: LatestStore, metrics: Metrics, drift: DriftMonitor | None, symbol: str
) -> None:
    """Remove what other parts hold of a symbol that has left the table."""
    latest_store.drop(symbol)
    metrics.ticks.forget(symbol)
    if drift is not None:
        drift.forget(symbol)


def _build_consumer(services: Services, bus: Bus, store: Store | None) -> Consumer:
    settings = services.settings
    forecaster = Forecaster(
        services.table,
        services.holder,
        services.latest_store,
        services.metrics,
        bus.identity,
        horizon_s=settings.model.horizon_s,
        observe=services.drift.observe if services.drift is not None else None,
        keep_minutes=_minutes_sink(settings, store),
    )
    return Consumer(
        bus,
        settings.kafka,
        services.table,
        forecaster,
        services.metrics,
        services.tracer,
        services.health,
    )


def _minutes_sink(
    settings: Settings, store: Store | None
) -> Callable[[Minutes, Outputs], None] | None:
    """Return what takes the minutes that have ended: the log where there is one, else the store."""
    if settings.bus.transport == "kafka":
        return lambda minutes, outputs: outputs.minutes.append(minutes)
    if store is None:
        return None
    return lambda minutes, outputs: store.keep_minutes(minutes)


def _build_server(services: Services) -> Server:
    settings = services.settings
    grace_s = settings.service.shutdown_timeout_s * SERVER_SHARE
    return Server(create_app(services), settings.http, grace_s)


def _build_follower(
    services: Services, bus: Bus, consumer: Consumer | None, server: Server | None
) -> FeaturesFollower | None:
    # On the in-process bus there is no other instance to follow.
    if services.settings.bus.transport == "memory" or not (consumer or server):
        return None
    topics = services.settings.kafka
    latest_store = services.latest_store if server else None
    if consumer is None:
        return FeaturesFollower(bus, topics, latest_store)
    return FeaturesFollower(bus, topics, latest_store, consumer.check_remote_write)
