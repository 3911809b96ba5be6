"""The acts of the demo: each does something to the service, and reports the effect.

An act that does not see what it claims raises AssertionError.
"""

from __future__ import annotations

import asyncio
import textwrap
from contextlib import aclosing

from tests.daemon import command, eventually
from tests.demo.market import HOUR_NS, START_NS
from tests.demo.stage import COARSE_FROM, ROW, SPEED, WORK_S, Stage
from tests.kafka.log import committed, read_topic
from tests.registry.store import digest_of, move_alias, register, write_candidate
from volsvc.client import LatestResponse
from volsvc.domain import format_time

ALERT_S = 90.0
PARTITIONS = 6
# Characters shown of an alert's text.
WIDTH = 66


async def start(stage: Stage) -> None:
    """Show the started service: its model, and the state that it restored."""
    await stage.act("The service starts, and goes on where yesterday ended")
    tell = stage.narrator
    tell.say(
        f"`volsvc run --transport kafka --path today.csv --speed {SPEED}`: 90 minutes of the"
        " market in a minute. Yesterday's ticks were in the log; nothing but the log was kept."
    )

    async def known() -> bool:
        symbols = (await stage.client.latest_all()).symbols
        return len(symbols) == 3 and all(one.quality.verdict == "ok" for one in symbols)

    await eventually(known, WORK_S, "three symbols with a day behind them")
    version = await stage.client.version()
    tell.show("serves", f"{version.model}, digest {version.model_digest[:12]}")
    for one in (await stage.client.latest_all()).symbols:
        sigma = one.predictions[0].sigma_annualised
        tell.show(one.symbol, f"price {one.price:,.2f}, volatility {sigma:.0%} a year")

    async def entered() -> bool:
        text = (await stage.client.health()).checks["model"].detail
        return "registry" not in text or "entered" in text

    await eventually(entered, WORK_S, "the packaged models are in the registry")
    await stage.film.open(f"{stage.daemon.url}/#BTC-USD")


async def predict(stage: Stage) -> None:
    """Show a forecast of posted returns, a live one, and the stream."""
    await stage.act("A forecast from posted returns, and the live ones as they come")
    tell = stage.narrator
    answer = await stage.client.predict([ROW], horizon_s=300)
    said = answer.predictions[0]
    assert said is not None
    tell.show("POST /predict", f"sigma {said.sigma:.2e} in 300 s, by {answer.model_variant}")
    tell.show("90 % interval", f"{said.lo:.2e} to {said.hi:.2e}")
    async with asyncio.timeout(30), aclosing(stage.client.stream(["BTC-USD"])) as stream:
        seen = 0
        async for event in stream:
            if isinstance(event.data, LatestResponse):
                minute = event.data.predictions[0]
                score = f"score {minute.score:.2f}"
                tell.show(f"event {event.id}", f"{event.data.symbol} {minute.sigma:.2e}, {score}")
                seen += 1
            if seen == 3:
                break


async def broker_fails(stage: Stage) -> None:
    """Kill and restart the broker: answers go on, an alert fires, nothing is lost."""
    await stage.act("The broker is killed with SIGKILL")
    tell, daemon = stage.narrator, stage.daemon
    before, asked = await daemon.metric("volsvc_ticks_total"), stage.load.answered
    stage.broker.kill()
    with stage.timed("a broker is gone until /health says so"):
        said = await stage.until_health("kafka:", "degraded")
    tell.trouble("GET /health", _short(said))
    await stage.heard.wait_for("firing", "VolsvcKafkaDisconnected", within_s=ALERT_S)
    tell.trouble("alert at the pager", "VolsvcKafkaDisconnected")
    assert stage.load.answered > asked
    tell.show("/predict meanwhile", f"{stage.load.answered - asked} answered, none refused")
    await stage.act("The broker comes back")
    await asyncio.to_thread(stage.broker.start)
    with stage.timed("the broker listens again until all is processed"):
        await _caught_up(stage, before)
    tell.show("ticks since the failure", round(await daemon.metric("volsvc_ticks_total") - before))
    await stage.until_health("kafka:", "ok")
    await stage.heard.wait_for("resolved", "VolsvcKafkaDisconnected", within_s=ALERT_S)
    tell.show("alert at the pager", "VolsvcKafkaDisconnected is resolved")


async def _caught_up(stage: Stage, before: float) -> None:
    """Wait until ticks flow again and none of them waits."""

    async def flowing() -> bool:
        return (
            await stage.daemon.metric("volsvc_ticks_total") > before + 100
            and await stage.daemon.metric("volsvc_kafka_consumer_lag_records") < 50
        )

    await eventually(flowing, WORK_S, "what was produced since is processed")


async def hot_swap(stage: Stage) -> None:
    """Offer a corrupt candidate, which is refused, and a good one, which serves at once."""
    await stage.act("Models change under load: a corrupt one is refused, a good one serves")
    tell = stage.narrator
    before = await stage.client.predict([ROW])
    corrupt = await _register(stage, "corrupt")
    tell.say(f"MLflow's alias `ml` is pointed at version {corrupt}, whose file is damaged.")
    await asyncio.to_thread(move_alias, stage.store, corrupt)
    tell.trouble("GET /health", _short(await stage.until_health("model", "degraded")))
    assert (await stage.client.predict([ROW])).scores == before.scores
    tell.show("serves on", f"{before.model_variant}-{before.version}")
    good = await _register(stage, "good")
    tell.say(f"The alias is pointed at version {good}, which expects more of the same window.")
    await asyncio.to_thread(move_alias, stage.store, good)

    async def serves() -> bool:
        return (await stage.client.predict([ROW])).version == good

    with stage.timed("an alias is moved until the new version answers"):
        await eventually(serves, 30, f"version {good} serves")
    after = await stage.client.predict([ROW])
    tell.show("serves", f"{after.model_variant}-{after.version}")
    tell.show(
        "score of the same window", f"{before.scores[0]:.3f} before, {after.scores[0]:.3f} now"
    )
    assert after.scores != before.scores


async def _register(stage: Stage, kind: str) -> str:
    path = await asyncio.to_thread(write_candidate, stage.folder, kind, 1.5)
    return await asyncio.to_thread(register, stage.store, path, digest_of(path))


async def rollback(stage: Stage) -> None:
    """Roll back to the previous model with one call."""
    await stage.act("Back to what served before")
    tell = stage.narrator
    with stage.timed("a rollback"):
        state = await stage.client.rollback()
    tell.show("POST /models/rollback", f"{state.serving.model} serves")
    for entry in (await stage.client.model_history(limit=3)).entries:
        tell.show(f"journal {entry.seq}", f"{entry.kind} by {entry.trigger}: {entry.model}")
    assert not stage.load.failed, stage.load.failed[:3]
    tell.show("/predict since the start", f"{stage.load.answered} answered, 0 failed")


async def drift(stage: Stage) -> None:
    """Change the feed: the next check finds the drift, and an alert fires."""
    await stage.act("A venue begins to send coarse prices: inputs drift")
    tell = stage.narrator
    tell.say(
        f"From {COARSE_FROM - 24:02}:00 on today's prices come in a few hundred steps. Every two"
        " hours /drift compares with a calm week."
    )
    shown: set[str] = set()
    changed = format_time(START_NS + COARSE_FROM * HOUR_NS + HOUR_NS)

    async def found() -> bool:
        last = (await stage.client.drift()).last
        if last is not None and last.end not in shown:
            shown.add(last.end)
            speak = tell.trouble if last.drifted else tell.show
            names = ", ".join(last.drifted) or "nothing"
            speak(f"hours to {last.end[11:16]}", f"{names} drifts")
        # A drift found earlier is a false alarm, of which the budget allows one in two weeks.
        return last is not None and last.end > changed and bool(last.drifted)

    await eventually(found, 300, "the change is found", every_s=0.5)
    last = (await stage.client.drift()).last
    assert last is not None
    for one in last.features[: len(last.drifted)]:
        tell.trouble(one.feature, f"median moved by {one.shift or 0:+.1f} interquartile ranges")
    await stage.heard.wait_for("firing", "VolsvcDrift", within_s=ALERT_S)
    tell.trouble("alert, as a ticket", "VolsvcDrift")


async def stop(stage: Stage) -> None:
    """Stop the service by SIGTERM: it drains and exits, and its audit log is intact."""
    await stage.act("The service is asked to stop")
    tell = stage.narrator
    answered, failed = stage.load.answered, list(stage.load.failed)
    assert not failed, failed[:3]
    tell.show("/predict, all in all", f"{answered} answered, {len(failed)} failed")
    stage.figures.update({"requests answered": answered, "requests failed": len(failed)})
    processed = await stage.daemon.metric("volsvc_ticks_total")
    with stage.timed("SIGTERM until the process has ended"):
        code = await stage.daemon.stop()
    assert code == 0, stage.daemon.log[-2000:]
    tell.show("SIGTERM", "drained, exit code 0")
    count, committed = await _each_once(stage)
    tell.show("ticks in the log", f"{count:,}: each once, none missing")
    assert processed <= committed <= count, "what was processed is committed"
    tell.show("processed and committed", f"{committed:,}; {count - committed} for the next start")
    verify = ("models", "history", "--verify")
    _, out, error = await command(*verify, env=stage.env, cwd=stage.folder)
    assert "whole" in out, error
    tell.show("volsvc models history", out.splitlines()[-1])


async def _each_once(stage: Stage) -> tuple[int, int]:
    """Return the number of ticks in the log, and the number of committed ones.

    Raises unless they are the first of the recordings, each once.
    """
    servers = stage.broker.bootstrap_servers
    records = await read_topic(servers, "ticks.raw", PARTITIONS)
    found = [record.value for record in records]
    rows = [row.split(",")[:2] for row in stage.rows()]
    assert sorted((t["time"], t["symbol"]) for t in found) == sorted(map(tuple, rows[: len(found)]))
    taken = await committed(servers, "volsvc", "ticks.raw", PARTITIONS)
    return len(found), sum(taken.values())


def _short(text: str) -> str:
    return textwrap.shorten(text, WIDTH, placeholder=" …")


ACTS = (start, predict, broker_fails, hot_swap, rollback, drift, stop)
