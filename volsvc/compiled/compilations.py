"""Compilations as numba reports them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from numba.core import event


class Compilations(event.Listener):
    """Counts the functions that any thread compiles inside its `with` block.

    Machine code that comes from the cache is not counted.
    """

    def __init__(self, on_compile: Callable[[str], None] = lambda name: None) -> None:
        """`on_compile` is called with the name of each function before it is compiled.

        It is called in the thread that compiles, and may raise to stop that.
        """
        self.count = 0
        self._on_compile = on_compile

    def __enter__(self) -> Self:
        """Start to count."""
        event.register("numba:compile", self)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop counting."""
        event.unregister("numba:compile", self)

    def on_start(self, event: Any) -> None:
        """Count a compilation that begins."""
        function = event.data["dispatcher"].py_func
        self.count += 1
        self._on_compile(f"{function.__module__}.{function.__qualname__}")

    def on_end(self, event: Any) -> None:
        """Do nothing: a compilation is counted when it begins."""
