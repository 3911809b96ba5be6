"""`volsvc doctor`: check, from outside, everything that the service needs."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final, Literal, NamedTuple

import aiohttp
import msgspec

from volsvc.client.http_session import MAX_ANSWER_BYTES
from volsvc.config.settings import Settings, SettingsError, load_settings
from volsvc.domain import VolsvcError
from volsvc.drift import DriftReferenceError
from volsvc.drift.monitor import PACKAGED_REFERENCE, read_reference
from volsvc.models import ArtefactError, packaged
from volsvc.safe_io.bodies import UnreadableAnswerError, decode_json, read_bounded
from volsvc.serving.factory import build_registry_client
from volsvc.store import StoreError
from volsvc.store.database import open_for_reading
from volsvc.store.minute_table import read_feeds, read_symbols

MIN_FREE_BYTES: Final = 1024**3
MAX_SKEW_S: Final = 2.0
CALL_TIMEOUT_S: Final = 3.0
# One metric each of the process, of HTTP and of health: together no other program exposes them.
REQUIRED_METRICS: Final = (
    "volsvc_build_info",
    "http_server_request_duration_seconds",
    "volsvc_ready",
)

Status = Literal["ok", "warn", "fail"]


class Finding(NamedTuple):
    """The result of one check; `remedy` is empty if nothing has to be done."""

    status: Status
    part: str
    detail: str
    remedy: str = ""


class _Check(msgspec.Struct):
    status: str
    detail: str = ""


class _Health(msgspec.Struct):
    checks: dict[str, _Check]


def run_doctor(config: Path | None, url: str | None) -> bool:
    """Print every finding, and return whether no check has failed."""
    failed = False
    for finding in check_all(config, url):
        failed |= finding.status == "fail"
        remedy = f"\n       {finding.remedy}" if finding.remedy else ""
        print(f"{finding.status:4}  {finding.part}: {finding.detail}{remedy}")
    return not failed


def check_all(config: Path | None, url: str | None) -> Iterator[Finding]:
    """Yield the findings, those on this machine first; an invalid configuration is the last."""
    try:
        settings = load_settings(config)
    except SettingsError as error:
        yield Finding("fail", "config", str(error), "correct the named key")
        return
    yield Finding("ok", "config", f"{config or 'defaults'} can be used")
    yield _check_disk(settings)
    yield _check_store(settings)
    yield _check_model()
    yield _check_reference(settings)
    yield from asyncio.run(_check_network(settings, url))


def _check_disk(settings: Settings) -> Finding:
    folder = settings.service.data_dir.resolve()
    # The service creates the folder at its first start: until then its nearest parent counts.
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(there, os.W_OK):
        return Finding(
            "fail", "disk", f"{there} is not writable", "correct its owner or permissions"
        )
    free = shutil.disk_usage(there).free
    text = f"{free / 1024**3:.1f} GiB are free at {there}"
    if free < MIN_FREE_BYTES:
        return Finding("warn", "disk", text, "free some space, or change service.data_dir")
    return Finding("ok", "disk", text)


def _check_store(settings: Settings) -> Finding:
    path = settings.store_file
    if not settings.store.enabled:
        return Finding("ok", "store", "is off: nothing is remembered")
    if not path.exists():
        return Finding("ok", "store", f"{path} begins with the first start")
    try:
        with closing(open_for_reading(path)) as connection:
            feeds = read_feeds(connection)
            symbols = sum(len(read_symbols(connection, feed)) for feed in feeds.values())
    except (StoreError, sqlite3.Error) as error:
        remedy = (
            "see VolsvcStoreErrors in the runbook; the service goes on without it, or begins anew"
        )
        return Finding("fail", "store", str(error), remedy)
    size = path.stat().st_size / 1e6
    return Finding("ok", "store", f"{path} has {symbols} symbols in {size:.1f} MB")


def _check_model() -> Finding:
    try:
        model = packaged().model
    except ArtefactError as error:
        return Finding("fail", "model", str(error), "reinstall the package")
    return Finding("ok", "model", f"the packaged {model.variant}-{model.version} passes its checks")


def _check_reference(settings: Settings) -> Finding:
    if not settings.drift.enabled:
        return Finding("warn", "drift", "is disabled", "set drift.enabled = true")
    given = settings.drift.reference
    try:
        reference = read_reference(Path(given) if given else PACKAGED_REFERENCE)
    except DriftReferenceError as error:
        remedy = "make one with `volsvc drift --reference DATA --save-reference FILE`"
        return Finding("fail", "drift", str(error), remedy)
    rows = reference.facts.get("rows", "?")
    return Finding("ok", "drift", f"the reference has {rows} rows")


async def _check_network(settings: Settings, url: str | None) -> list[Finding]:
    # All at once, since each may take its whole timeout.
    checks: list[Callable[[], Awaitable[list[Finding]]]] = [
        lambda: _check_broker(settings),
        lambda: _check_registry(settings),
        lambda: _check_service(settings, url),
    ]
    found = await asyncio.gather(*(check() for check in checks))
    return [finding for findings in found for finding in findings]


async def _check_broker(settings: Settings) -> list[Finding]:
    if settings.bus.transport == "memory":
        return [Finding("ok", "broker", "is not needed: ticks stay in this process")]
    findings = []
    for server in settings.kafka.bootstrap_servers.split(","):
        host, _, port = server.strip().rpartition(":")
        findings.append(
            await _connect(host, int(port) if port.isascii() and port.isdigit() else 9092)
        )
    return findings


async def _connect(host: str, port: int) -> Finding:
    try:
        async with asyncio.timeout(CALL_TIMEOUT_S):
            _, writer = await asyncio.open_connection(host, port)
        writer.close()
    except (OSError, TimeoutError) as error:
        # A timeout is an OSError without a text.
        reason = getattr(error, "strerror", None) or "no answer"
        remedy = "start it, or correct kafka.bootstrap_servers"
        if isinstance(error, socket.gaierror):
            remedy = "correct the name in kafka.bootstrap_servers"
        return Finding("fail", "broker", f"{host}:{port}: {reason}", remedy)
    return Finding("ok", "broker", f"{host}:{port} accepts connections")


async def _check_registry(settings: Settings) -> list[Finding]:
    registry = build_registry_client(settings)
    try:
        async with asyncio.timeout(CALL_TIMEOUT_S):
            aliases = await registry.aliases()
    except (VolsvcError, TimeoutError, OSError) as error:
        detail = str(error) or f"no answer within {CALL_TIMEOUT_S:g} s"
        return [Finding("warn", "registry", detail, "check model.tracking_uri and the server")]
    finally:
        await registry.close()
    if not aliases:
        text = f"{settings.model.name} is not registered yet"
        return [Finding("warn", "registry", text, "the service registers it at its first start")]
    return [Finding("ok", "registry", ", ".join(f"{k} is {v}" for k, v in sorted(aliases.items())))]


class _Response(NamedTuple):
    """The response to a GET; `date` is the server's clock, as its header has it."""

    status: int
    body: bytes
    date: str


async def _get(url: str) -> _Response | None:
    """Return the response to a GET; None if there is none in time."""
    timeout = aiohttp.ClientTimeout(total=CALL_TIMEOUT_S)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as client, client.get(url) as response:
            body = await read_bounded(response.content.iter_any(), MAX_ANSWER_BYTES)
            return _Response(response.status, body, response.headers.get("Date", ""))
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError, UnreadableAnswerError):
        return None


async def _check_service(settings: Settings, url: str | None) -> list[Finding]:
    base = (url or f"http://{settings.http.host}:{settings.http.port}").rstrip("/")
    health = await _get(f"{base}/health")
    if health is None:
        remedy = "start it with `volsvc run`, or give its address with --url"
        return [Finding("warn", "service", f"nothing answers at {base}", remedy)]
    if health.status in (401, 403):
        return [Finding("ok", "service", f"{base} answers, and requires a key")]
    findings = [*_read_health(health), _check_clock(health)]
    return [*findings, _check_scrape(base, await _get(f"{base}/metrics"))]


def _read_health(response: _Response) -> Iterator[Finding]:
    try:
        checks = decode_json(response.body, _Health).checks
    except UnreadableAnswerError:
        yield Finding("fail", "service", "the answer is not one of volsvc", "check --url")
        return
    bad = {name: check for name, check in checks.items() if check.status != "ok"}
    if not bad:
        yield Finding("ok", "service", f"all {len(checks)} parts are ok")
    for name, check in bad.items():
        status: Status = "fail" if check.status == "fail" else "warn"
        yield Finding(status, name, check.detail or check.status, "see docs/runbook.md")


def _check_clock(response: _Response) -> Finding:
    skew = (
        abs(parsedate_to_datetime(response.date).timestamp() - time.time())
        if response.date
        else 0.0
    )
    # One more second, because the header has whole seconds.
    if skew > MAX_SKEW_S + 1:
        text = f"the clocks of this machine and of the service differ by {skew:.0f} s"
        return Finding("fail", "clock", text, "synchronise both clocks by NTP")
    return Finding("ok", "clock", "agrees with that of the service")


def _check_scrape(base: str, response: _Response | None) -> Finding:
    if response is None or response.status != 200:
        status = "no answer" if response is None else f"status {response.status}"
        return Finding("fail", "scrape", f"{base}/metrics: {status}", "give Prometheus a key")
    missing = [
        name for name in REQUIRED_METRICS if name not in response.body.decode(errors="replace")
    ]
    if missing:
        text = f"{base}/metrics does not have {', '.join(missing)}"
        return Finding("fail", "scrape", text, "another program answers there: check the address")
    return Finding("ok", "scrape", f"{base}/metrics can be scraped")
