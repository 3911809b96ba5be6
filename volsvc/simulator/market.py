"""Plays a tape to whoever listens, with the faults of a script."""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping

from volsvc.domain import NS
from volsvc.simulator import wire
from volsvc.simulator.script import Fault, Kind, Script
from volsvc.simulator.session import Session
from volsvc.simulator.steps import Step, Steps
from volsvc.simulator.subscribers import Subscribers
from volsvc.sources.pacing import RESOLUTION_S, Schedule


class Market:
    """The state of the exchange: what has happened, and the faults that are under way."""

    def __init__(self, tape: Steps, script: Script, speed: float) -> None:
        self.tape = tape
        self.script = script
        self.finished = asyncio.Event()
        self.steps_played = 0
        self._speed = speed
        self.subscribers = Subscribers()
        self._faults: dict[int, list[Fault]] = defaultdict(list)
        for fault in script.fault:
            if fault.at is not None:
                self._faults[fault.at].append(fault)
        self._unseen = self._skips = self._skewed = 0
        self._skew_ns = 0
        self._refusals = 0
        self._throttles: deque[float] = deque()

    def refuses(self) -> bool:
        """Whether a subscription is refused now."""
        refused = self._refusals > 0
        self._refusals -= refused
        return refused

    def throttle_s(self) -> float | None:
        """What a REST request is asked to wait, if it is refused now."""
        return self._throttles.popleft() if self._throttles else None

    # --- the play -------------------------------------------------------------------------

    async def play(self) -> None:
        """Play the tape to its end."""
        for fault in self._faults[0]:
            await self._set_up(fault)
        await self.subscribers.gathered(self.script.wait_for)
        schedule = Schedule(self._speed)
        for number, step in enumerate(self.tape.steps(), start=1):
            if not self._unseen and await self.subscribers.listening(step.symbol):
                schedule = Schedule(self._speed)
            wait_s = schedule.wait_s(step.ticks[-1].time_ns) if self._speed < math.inf else 0.0
            await asyncio.sleep(wait_s if wait_s > RESOLUTION_S else 0)
            await self._perform(step, self._faults.get(number, []))
            self.steps_played = number
        for session in self.subscribers:
            await self._send_held(session)
        self.finished.set()

    async def _perform(self, step: Step, faults: list[Fault]) -> None:
        for fault in faults:
            await self._set_up(fault)
        for tick in step.ticks:
            self.tape.record(tick)
        if self._unseen:
            self._unseen -= 1
            return
        skew_ns = self._skew_ns if self._skewed else 0
        by_kind = {fault.kind: fault for fault in faults}
        for session in self.subscribers:
            for channel in session.wants(step.symbol):
                for sent, events in wire.data_messages(channel, step, skew_ns):
                    text = session.compose(channel, sent, events)
                    await self._deliver(session, text, by_kind)
            if "reorder" not in by_kind:
                await self._send_held(session)
        self._skewed = max(0, self._skewed - 1)
        self._skips = max(0, self._skips - 1)

    async def _deliver(self, session: Session, text: str, faults: Mapping[Kind, Fault]) -> None:
        if self._skips:
            return
        if "reorder" in faults:
            session.held.append(text)
        elif "drip" in faults:
            await session.drip(text, faults["drip"].seconds)
        else:
            await session.send(text[: len(text) // 2] if "malformed" in faults else text)
            if "duplicate" in faults:
                await session.send(text)

    async def _send_held(self, session: Session) -> None:
        held, session.held = session.held, []
        for text in held:
            await session.send(text)

    # --- faults ---------------------------------------------------------------------------

    async def _set_up(self, fault: Fault) -> None:
        if fault.kind == "skip":
            self._skips = fault.count
        elif fault.kind == "clock_skew":
            self._skewed, self._skew_ns = fault.count, round(fault.seconds * NS)
        elif fault.kind == "refuse":
            self._refusals += fault.count
        elif fault.kind == "rest_429":
            self._throttles.extend([fault.seconds] * fault.count)
        elif fault.kind in ("disconnect", "half_open", "stall"):
            self._unseen = fault.count
            await self._lose_listeners(fault)
        else:
            await self._disturb(fault)

    async def _lose_listeners(self, fault: Fault) -> None:
        for session in self.subscribers.empty():
            if fault.kind == "half_open":
                session.mute = True
            elif fault.kind == "disconnect":
                await session.close()

    async def _disturb(self, fault: Fault) -> None:
        for session in self.subscribers:
            if fault.kind == "error":
                await session.send(wire.error("internal error"))
            elif fault.kind == "sequence_reset":
                session.reset()
            elif fault.kind == "snapshot":
                await self.send_snapshots(session, session.channels)

    async def send_snapshots(self, session: Session, channels: Iterable[str]) -> None:
        """What happened before, as after a subscription."""
        for channel in channels:
            for symbol in sorted(session.channels[channel]):
                newest = self.tape.newest(symbol, self.script.snapshot_trades)
                if newest and channel != "heartbeats":
                    await session.say(channel, *wire.snapshot(channel, newest))

    async def disconnect_every(self, fault: Fault) -> None:
        """Drop every client every so many seconds, until cancelled."""
        while fault.every_s is not None:
            await asyncio.sleep(fault.every_s)
            await self._set_up(fault)
