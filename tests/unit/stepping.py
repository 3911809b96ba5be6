"""State machines whose rules start tasks on an event loop that runs until nothing is left to do."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from hypothesis.stateful import RuleBasedStateMachine

T = TypeVar("T")


class _NeverWaiting(selectors.SelectSelector):
    """Calls a function where a loop would wait for a timer or a socket."""

    def __init__(self) -> None:
        super().__init__()
        self.on_idle: Callable[[], None] = lambda: None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return at once; a loop that has callbacks to run asks for a timeout of 0."""
        if timeout != 0:
            self.on_idle()
        return super().select(0)


class StillLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock stands still between calls of `advance`."""

    def __init__(self) -> None:
        self._now_s = 0.0
        selector = _NeverWaiting()
        super().__init__(selector)
        selector.on_idle = self.stop

    def time(self) -> float:
        """Return the time of timers, in seconds since the loop was made."""
        return self._now_s

    def settle(self) -> None:
        """Run until every task has ended or waits."""
        self.run_forever()

    def advance(self, seconds: float) -> None:
        """Move the clock and run what is due by then."""
        self._now_s += seconds
        self.settle()


class SteppingMachine(RuleBasedStateMachine):
    """A state machine with a loop of its own, on which tasks stay from one rule to the next.

    Nothing depends on the speed of the machine: a task that waits after `begin` waits for an event
    that only another rule brings about.
    """

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner(loop_factory=StillLoop)
        loop = self._runner.get_loop()
        assert isinstance(loop, StillLoop)
        self.loop = loop

    def begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task and run it until it ends or waits."""
        task = self.loop.create_task(work)
        self.loop.settle()
        return task

    def result(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of work that has nothing to wait for."""
        task = self.begin(work)
        assert task.done(), f"{task.get_coro()} waits"
        return task.result()

    def teardown(self) -> None:
        """Cancel the tasks that are left."""
        self._runner.close()
