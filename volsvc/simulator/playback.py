"""Plays steps to the subscribers of the simulated exchange, with the faults of a script."""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping

from volsvc.domain import NS
from volsvc.simulator import coinbase_messages as messages
from volsvc.simulator.script import Fault, FaultKind, Script
from volsvc.simulator.session import Session
from volsvc.simulator.steps import Step, Steps
from volsvc.simulator.subscribers import Subscribers
from volsvc.sources.pacing import RESOLUTION_S, Schedule


class Playback:
    """The state of the exchange: the steps played so far, and the faults in effect."""

    def __init__(self, steps: Steps, script: Script, speed: float) -> None:
        self.steps = steps
        self.script = script
        self.finished = asyncio.Event()
        self.steps_played = 0
        self._speed = speed
        self.subscribers = Subscribers()
        self._faults: dict[int, list[Fault]] = defaultdict(list)
        for fault in script.fault:
            if fault.at is not None:
                self._faults[fault.at].append(fault)
        # Steps for which each of these faults is still in effect.
        self._unseen = self._skipped = self._skewed = 0
        self._skew_ns = 0
        self._refusals = 0
        # Of the REST requests to come, in their order.
        self._rest_faults: deque[Fault] = deque()

    def take_refusal(self) -> bool:
        """Return whether to refuse a subscription, which counts as one refusal."""
        refused = self._refusals > 0
        self._refusals -= refused
        return refused

    def take_rest_fault(self) -> Fault | None:
        """Return the fault of a REST request, None to answer it as it should be."""
        return self._rest_faults.popleft() if self._rest_faults else None

    # --- steps ----------------------------------------------------------------------------

    async def play(self) -> None:
        """Play all steps."""
        for fault in self._faults[0]:
            await self._apply(fault)
        await self.subscribers.wait_for_symbols(self.script.wait_for)
        schedule = Schedule(self._speed)
        for number, step in enumerate(self.steps, start=1):
            # Without a subscriber the playback stands still, so that a client misses the steps that
            # the script takes from it and no others. The schedule starts anew after the wait.
            if not self._unseen and await self.subscribers.wait_for_subscriber(step.symbol):
                schedule = Schedule(self._speed)
            wait_s = schedule.wait_s(step.ticks[-1].time_ns) if self._speed < math.inf else 0.0
            # At full speed too the sessions must get their turn on the event loop.
            await asyncio.sleep(wait_s if wait_s > RESOLUTION_S else 0)
            await self._play_step(step, self._faults.get(number, []))
            self.steps_played = number
        for session in self.subscribers:
            await self._send_delayed(session)
        self.finished.set()

    async def _play_step(self, step: Step, faults: list[Fault]) -> None:
        for fault in faults:
            await self._apply(fault)
        # An unseen step happens all the same: REST and snapshots have its trades.
        for tick in step.ticks:
            self.steps.record(tick)
        if self._unseen:
            self._unseen -= 1
            return
        skew_ns = self._skew_ns if self._skewed else 0
        by_kind = {fault.kind: fault for fault in faults}
        for session in self.subscribers:
            for channel in session.channels_of(step.symbol):
                for sent, events in messages.data_messages(channel, step, skew_ns):
                    text = session.number_message(channel, sent, events)
                    await self._deliver(session, text, by_kind)
            # After the messages of this step, which have overtaken them.
            if "reorder" not in by_kind:
                await self._send_delayed(session)
        self._skewed = max(0, self._skewed - 1)
        self._skipped = max(0, self._skipped - 1)

    async def _deliver(
        self, session: Session, text: str, faults: Mapping[FaultKind, Fault]
    ) -> None:
        # A skipped message has its number already, so that the client can see the loss.
        if self._skipped:
            return
        if "reorder" in faults:
            session.delayed.append(text)
        elif "drip" in faults:
            await session.send_slowly(text, faults["drip"].seconds)
        else:
            await session.send(text[: len(text) // 2] if "malformed" in faults else text)
            if "duplicate" in faults:
                await session.send(text)

    async def _send_delayed(self, session: Session) -> None:
        delayed, session.delayed = session.delayed, []
        for text in delayed:
            await session.send(text)

    # --- faults ---------------------------------------------------------------------------

    async def _apply(self, fault: Fault) -> None:
        if fault.kind == "skip":
            self._skipped = fault.count
        elif fault.kind == "clock_skew":
            self._skewed, self._skew_ns = fault.count, round(fault.seconds * NS)
        elif fault.kind == "refuse":
            self._refusals += fault.count
        elif fault.kind.startswith("rest_"):
            self._rest_faults.extend([fault] * fault.count)
        elif fault.kind in ("disconnect", "half_open", "stall"):
            self._unseen = fault.count
            await self._drop_subscribers(fault)
        else:
            await self._apply_to_sessions(fault)

    async def _drop_subscribers(self, fault: Fault) -> None:
        # A stall needs no more than this: heartbeats are sent to every session, subscriber or not.
        for session in self.subscribers.clear():
            if fault.kind == "half_open":
                session.half_open = True
            elif fault.kind == "disconnect":
                await session.close()

    async def _apply_to_sessions(self, fault: Fault) -> None:
        for session in self.subscribers:
            if fault.kind == "error":
                await session.send(messages.error("internal error"))
            elif fault.kind == "sequence_reset":
                session.reset_sequence()
            elif fault.kind == "snapshot":
                await self.send_snapshots(session, session.channels)

    async def send_snapshots(self, session: Session, channels: Iterable[str]) -> None:
        """Send the newest trades of each channel, as after a subscription."""
        for channel in channels:
            for symbol in sorted(session.channels[channel]):
                newest = self.steps.newest(symbol, self.script.snapshot_trades)
                if newest and channel != "heartbeats":
                    await session.send_events(channel, *messages.snapshot(channel, newest))

    async def disconnect_every(self, fault: Fault) -> None:
        """Disconnect every client each `every_s` seconds until cancelled."""
        while fault.every_s is not None:
            await asyncio.sleep(fault.every_s)
            await self._apply(fault)
