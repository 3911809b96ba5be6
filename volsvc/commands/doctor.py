"""`volsvc doctor`: looks at what the service needs, from outside, and says how to mend it."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final, Literal, NamedTuple

import aiohttp
import msgspec

from volsvc.config.settings import Settings, SettingsError, load_settings
from volsvc.domain import VolsvcError
from volsvc.drift import DriftReferenceError
from volsvc.drift.monitor import PACKAGED_REFERENCE, read_reference
from volsvc.models import ArtefactError, packaged
from volsvc.serving.factory import build_remote

LEAST_FREE_BYTES: Final = 1024**3
MOST_SKEW_S: Final = 2.0
CALL_S: Final = 3.0
SCRAPED: Final = ("volsvc_build_info", "http_server_request_duration_seconds", "volsvc_ready")

Status = Literal["ok", "warn", "fail"]


class Finding(NamedTuple):
    """What was found of one part; `remedy` says what to do, empty where nothing is."""

    status: Status
    part: str
    detail: str
    remedy: str = ""


def examine(config: Path | None, url: str | None) -> Iterator[Finding]:
    """Every finding, in the order in which one would look; a broken config ends it."""
    try:
        settings = load_settings(config)
    except SettingsError as error:
        yield Finding("fail", "config", str(error), "correct the key that is named")
        return
    yield Finding("ok", "config", f"{config or 'defaults'} can be used")
    yield _disk(settings)
    yield _model()
    yield _reference(settings)
    yield from asyncio.run(_ask_around(settings, url))


def _disk(settings: Settings) -> Finding:
    folder = settings.service.data_dir.resolve()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(there, os.W_OK):
        return Finding("fail", "disk", f"{there} cannot be written", "correct its owner or rights")
    free = shutil.disk_usage(there).free
    text = f"{free / 1024**3:.1f} GiB are free at {there}"
    if free < LEAST_FREE_BYTES:
        return Finding("warn", "disk", text, "make room, or set service.data_dir elsewhere")
    return Finding("ok", "disk", text)


def _model() -> Finding:
    try:
        model = packaged().model
    except ArtefactError as error:
        return Finding("fail", "model", str(error), "install the package anew")
    return Finding("ok", "model", f"the packaged {model.variant}-{model.version} proves itself")


def _reference(settings: Settings) -> Finding:
    if not settings.drift.enabled:
        return Finding("warn", "drift", "is switched off", "set drift.enabled = true")
    given = settings.drift.reference
    try:
        reference = read_reference(Path(given) if given else PACKAGED_REFERENCE)
    except DriftReferenceError as error:
        remedy = "make one with `volsvc drift --reference DATA --save-reference FILE`"
        return Finding("fail", "drift", str(error), remedy)
    return Finding(
        "ok", "drift", f"a reference of {reference.facts.get('rows', '?')} rows is there"
    )


async def _ask_around(settings: Settings, url: str | None) -> list[Finding]:
    checks: list[Callable[[], Awaitable[list[Finding]]]] = [
        lambda: _broker(settings),
        lambda: _registry(settings),
        lambda: _service(settings, url),
    ]
    found = await asyncio.gather(*(check() for check in checks))
    return [finding for findings in found for finding in findings]


async def _broker(settings: Settings) -> list[Finding]:
    if settings.bus.transport == "memory":
        return [Finding("ok", "broker", "none is needed: ticks travel in process")]
    findings = []
    for server in settings.kafka.bootstrap_servers.split(","):
        host, _, port = server.strip().rpartition(":")
        findings.append(await _reach(host, int(port) if port.isdigit() else 9092))
    return findings


async def _reach(host: str, port: int) -> Finding:
    try:
        async with asyncio.timeout(CALL_S):
            _, writer = await asyncio.open_connection(host, port)
        writer.close()
    except (OSError, TimeoutError) as error:
        reason = getattr(error, "strerror", None) or "no answer"
        remedy = "start it, or correct kafka.bootstrap_servers"
        if isinstance(error, socket.gaierror):
            remedy = "correct the name in kafka.bootstrap_servers"
        return Finding("fail", "broker", f"{host}:{port}: {reason}", remedy)
    return Finding("ok", "broker", f"{host}:{port} takes connections")


async def _registry(settings: Settings) -> list[Finding]:
    remote = build_remote(settings)
    try:
        async with asyncio.timeout(CALL_S):
            aliases = await remote.aliases()
    except (VolsvcError, TimeoutError, OSError) as error:
        detail = str(error) or f"no answer within {CALL_S:g} s"
        return [Finding("warn", "registry", detail, "check model.tracking_uri and the server")]
    finally:
        await remote.close()
    if not aliases:
        text = f"{settings.model.name} is not entered yet"
        return [Finding("warn", "registry", text, "the first start of the service enters it")]
    return [Finding("ok", "registry", ", ".join(f"{k} is {v}" for k, v in sorted(aliases.items())))]


class _Answer(NamedTuple):
    """What a service said; `date` is its clock's, as the header has it."""

    status: int
    body: bytes
    date: str


async def _ask(url: str, within_s: float) -> _Answer | None:
    """The answer to a GET; None when nothing answers in time."""
    timeout = aiohttp.ClientTimeout(total=within_s)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as client, client.get(url) as response:
            body = await response.read()
            return _Answer(response.status, body, response.headers.get("Date", ""))
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return None


async def _service(settings: Settings, url: str | None) -> list[Finding]:
    base = (url or f"http://{settings.http.host}:{settings.http.port}").rstrip("/")
    health = await _ask(f"{base}/health", CALL_S)
    if health is None:
        remedy = "start it with `volsvc run`, or name its address with --url"
        return [Finding("warn", "service", f"nothing answers at {base}", remedy)]
    if health.status in (401, 403):
        return [Finding("ok", "service", f"{base} answers, and asks for a key")]
    findings = [*_health(health), _clock(health)]
    return [*findings, _scrape(base, await _ask(f"{base}/metrics", CALL_S))]


def _health(answer: _Answer) -> Iterator[Finding]:
    try:
        checks = msgspec.json.decode(answer.body)["checks"]
    except (msgspec.DecodeError, KeyError, TypeError):
        yield Finding("fail", "service", "it answers, but not as volsvc does", "check --url")
        return
    bad = {name: check for name, check in checks.items() if check["status"] != "ok"}
    if not bad:
        yield Finding("ok", "service", f"all {len(checks)} parts work")
    for name, check in bad.items():
        status: Status = "fail" if check["status"] == "fail" else "warn"
        yield Finding(status, name, check["detail"] or check["status"], "see docs/runbook.md")


def _clock(answer: _Answer) -> Finding:
    skew = abs(parsedate_to_datetime(answer.date).timestamp() - time.time()) if answer.date else 0.0
    if skew > MOST_SKEW_S + 1:  # The header counts whole seconds.
        text = f"this machine and the service are {skew:.0f} s apart"
        return Finding("fail", "clock", text, "let NTP set both clocks")
    return Finding("ok", "clock", "agrees with the service's")


def _scrape(base: str, answer: _Answer | None) -> Finding:
    if answer is None or answer.status != 200:
        status = "no answer" if answer is None else f"status {answer.status}"
        return Finding("fail", "scrape", f"{base}/metrics: {status}", "give Prometheus a key")
    lacking = [name for name in SCRAPED if name not in answer.body.decode(errors="replace")]
    if lacking:
        text = f"{base}/metrics lacks {', '.join(lacking)}"
        return Finding("fail", "scrape", text, "something else answers there: check the address")
    return Finding("ok", "scrape", f"{base}/metrics can be scraped")
