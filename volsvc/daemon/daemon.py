"""The composition root: builds the parts of a daemon, runs them, and drains them in order.

Only this module names concrete implementations.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable

import volsvc
from volsvc.backoff import Backoff
from volsvc.config.settings import Settings
from volsvc.daemon.computed_metrics import ComputedMetrics
from volsvc.daemon.instance_name import InstanceName
from volsvc.daemon.listeners import PartsListener
from volsvc.daemon.supervisor import finish, supervise
from volsvc.domain import BusError
from volsvc.drift.monitor import build_drift_monitor
from volsvc.features import SymbolTable
from volsvc.models import PACKAGED
from volsvc.pipeline.consumer import Consumer
from volsvc.pipeline.event_hub import EventHub
from volsvc.pipeline.features_follower import FeaturesFollower
from volsvc.pipeline.latest_store import LatestStore
from volsvc.pipeline.producer import Producer
from volsvc.pipeline.quality_monitor import QualityMonitor
from volsvc.serving.factory import build_controller, build_holder, open_audit_log
from volsvc.serving.holder import ModelEvent
from volsvc.serving.listeners import ModelListener
from volsvc.serving.publish_packaged import register_packaged
from volsvc.sources.factory import build_source
from volsvc.telemetry.health import Health
from volsvc.telemetry.logs import get_logger
from volsvc.telemetry.metrics import Metrics
from volsvc.telemetry.tracing import build_tracer
from volsvc.transport.factory import build_bus
from volsvc.web.app import create_app
from volsvc.web.auth.api_keys import Keyring
from volsvc.web.server.server import Server
from volsvc.web.services import Services

LOOP_CHECK_S = 0.5
# Shares of shutdown_timeout_s for what was published and for requests in flight; the rest is for
# clients of a broker that may not answer.
CONSUMER_SHARE, SERVER_SHARE = 0.4, 0.3

log = get_logger(__name__)


class Daemon:
    """One process: its parts, started together and drained downstream."""

    def __init__(self, settings: Settings) -> None:
        """Builds the parts; raises SourceError or SettingsError when one cannot be built."""
        self.settings = settings
        self._on_kafka = settings.bus.transport == "kafka"
        self.keyring = Keyring(settings.auth)
        self.metrics = Metrics()
        self.tracer = build_tracer(settings)
        self.health = Health()
        reporter = self._reporter = PartsListener(self.metrics, self.health)
        roles = settings.service.roles
        # A daemon that cannot start leaves nothing behind, so this comes before the journal.
        source = build_source(settings, reporter, reporter.feed) if "producer" in roles else None
        self.hub = EventHub(settings.http.stream_ring)
        self.latest_store = LatestStore(self.hub.publish)
        reporter.feed.gap_listeners.append(self._tell_gap)
        self.table = SymbolTable(settings.features, self._forget, settings.quality.window_days)
        self.holder = build_holder(settings)
        self.audit_log, fault = open_audit_log(settings)
        self.health.report("journal", "degraded" if fault else "ok", fault)
        model_listener = ModelListener(self.metrics, self.health, self.audit_log)
        self.holder.listen(model_listener)
        self.holder.listen(self._tell_streams)
        self.controller = build_controller(settings, self.holder, model_listener)
        self.quality_monitor = QualityMonitor(
            self.table, self.latest_store, self.holder, settings.quality, settings.model.horizon_s
        )
        self.metrics.registry.register(self.quality_monitor)
        self.metrics.registry.register(ComputedMetrics(self.latest_store, self.health))
        self.drift = build_drift_monitor(
            settings, self.health, self.metrics.registry, self.table.qualities
        )
        if self.drift is not None:
            self.drift.listeners.append(lambda news: self.hub.publish("drift", None, news))
        self.metrics.build_info.labels(volsvc.__version__, settings.service.git_sha).set(1)
        self._name = InstanceName(settings.service.instance_id) if self._on_kafka else None
        self.bus = build_bus(settings, reporter, self._name.name if self._name else "")
        topic = settings.kafka.topic
        self._producer = Producer(source, self.bus, topic, self.metrics) if source else None
        if self._producer is not None:
            self._producer.trace_with(self.tracer)
        self._consumer = self._new_consumer() if "consumer" in roles else None
        self._server = self._new_server() if "api" in roles else None
        self._follower = self._new_follower()

    def _forget(self, symbol: str) -> None:
        self.latest_store.drop(symbol)
        self.metrics.forget(symbol)
        if self.drift is not None:
            self.drift.forget(symbol)

    def _new_consumer(self) -> Consumer:
        consumer = Consumer(
            self.bus, self.settings.kafka, self.table, self.holder, self.latest_store, self.metrics
        )
        consumer.use_horizon(self.settings.model.horizon_s)
        consumer.trace_with(self.tracer)
        if self.drift is not None:
            consumer.watch_with(self.drift.see)
        return consumer

    def _new_follower(self) -> FeaturesFollower | None:
        """In process there is nobody else whose forecasts we could serve."""
        if not self._on_kafka or not (self._consumer or self._server):
            return None
        topic = self.settings.kafka.features_topic
        latest_store = self.latest_store if self._server else None
        if self._consumer is None:
            return FeaturesFollower(self.bus, topic, latest_store)
        return FeaturesFollower(self.bus, topic, latest_store, self._consumer.witness)

    def _new_server(self) -> Server:
        services = Services(
            settings=self.settings,
            holder=self.holder,
            latest_store=self.latest_store,
            table=self.table,
            health=self.health,
            metrics=self.metrics,
            controller=self.controller,
            quality_monitor=self.quality_monitor,
            audit_log=self.audit_log,
            keyring=self.keyring,
            hub=self.hub,
            drift=self.drift,
            tracer=self.tracer,
        )
        grace_s = self.settings.service.shutdown_timeout_s * SERVER_SHARE
        return Server(create_app(services), self.settings.http, grace_s)

    def _tell_gap(self, symbol: str, kind: str, missing: int) -> None:
        self.hub.publish("gap", symbol or None, {"symbol": symbol, kind: missing})

    def _tell_streams(self, event: ModelEvent) -> None:
        serving = event.after
        news = {"kind": event.kind, "trigger": event.trigger, "reason": event.reason}
        model = {"variant": serving.model.variant, "version": serving.model.version}
        self.hub.publish("model", None, {**news, **model, "fallback": serving.fallback})

    def reload(self, settings: Settings) -> None:
        """Take over keys, certificate, variant and version; other settings wait for a restart.

        Raises SettingsError or StartupError; then what served before goes on serving.
        """
        if self._server:
            self._server.reload_certificate(settings.http)
        self.keyring.replace(settings.auth)
        self.controller.reload(settings.model)
        log.info(
            "reloaded",
            variant=settings.model.variant,
            log_level=settings.service.log_level,
            keys=list(self.keyring.names),
        )

    async def run(self, stop: asyncio.Event, on_ready: Callable[[str], None]) -> None:
        """Run until `stop` is set or a part fails for good, then drain.

        `on_ready` hears the base URL once the server is bound (empty without the `api` role).
        Raises what the failing part raised.
        """
        url = await self._server.start() if self._server else ""
        self.holder.tell("start", "settings", self.holder.current.fallback_reason or "")
        try:
            await self._run_parts(stop, lambda: on_ready(url))
        finally:
            self.health.ready = False
            if self._server:
                await self._server.close()
            await self.bus.stop()
            await asyncio.to_thread(self.tracer.close)
            if self._name:
                self._name.release()
            self.holder.tell("stop", "settings")
            log.info("stopped")

    async def _run_parts(self, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        async with asyncio.TaskGroup() as tasks:
            monitor = tasks.create_task(self._watch_loop(), name="monitor")
            consumer = producer = None
            if self._consumer:
                consumer = tasks.create_task(
                    self._supervised("consumer", self._consumer.run), name="consumer"
                )
            if self._producer:
                producer = tasks.create_task(
                    self._supervised("producer", self._producer.run), name="producer"
                )
            follower = None
            if self._follower:
                follower = tasks.create_task(
                    self._supervised("replica", self._follower.run), name="replica"
                )
            watchers = self._watchers(tasks)
            ready()
            await self._until_ready(stop)
            self.health.ready = True
            await stop.wait()
            log.info("draining")
            self.health.draining = True
            self.hub.close()
            grace_s = self.settings.service.shutdown_timeout_s * CONSUMER_SHARE
            # Downstream: each stage ends before the one that it feeds.
            await finish(producer, within_s=0)
            await self.bus.close()
            await finish(consumer, within_s=grace_s)
            for task in (follower, *watchers, monitor):
                await finish(task, within_s=0)

    def _watchers(self, tasks: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """Who looks after the models beside the stream; nothing waits for them."""
        parts = {"models": self.controller.run()}
        if self._consumer:
            parts["quality"] = self.quality_monitor.run()
        if self.drift is not None:
            parts["drift"] = self.drift.run()
        if self.settings.model.import_packaged and self.settings.model.variant == "ml":
            digest = hashlib.sha256(PACKAGED.read_bytes()).hexdigest()
            parts["registration"] = register_packaged(self.settings, digest, self.health)
        return [tasks.create_task(part, name=name) for name, part in parts.items()]

    async def _until_ready(self, stop: asyncio.Event) -> None:
        """Wait until every symbol is known, or until it is clear that it may take long.

        A balancer that sends requests earlier would get 404 for symbols that others know.
        """
        if self._follower is None:
            return
        waits = [asyncio.ensure_future(w) for w in (stop.wait(), self._follower.caught_up.wait())]
        within_s = self.settings.kafka.restore_timeout_s
        await asyncio.wait(waits, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    async def _supervised(self, name: str, part: Callable[[], Awaitable[None]]) -> None:
        kafka = self.settings.kafka
        backoff = Backoff(kafka.retry_backoff_ms / 1000, kafka.retry_backoff_max_ms / 1000)
        self.health.report(name, "ok")
        try:
            await supervise(name, part, backoff, self._reporter)
        except BusError as error:
            self.health.report(name, "fail", str(error))
            raise

    async def _watch_loop(self) -> None:
        """Measure how late the event loop is."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LOOP_CHECK_S
            await asyncio.sleep(LOOP_CHECK_S)
            self.metrics.event_loop_lag.set(max(0.0, loop.time() - due))
            self.metrics.tasks.set(len(asyncio.all_tasks()))
