"""The one place that knows which model serves."""

from __future__ import annotations

from dataclasses import dataclass

from volsvc.models.base import Model


@dataclass(frozen=True, slots=True)
class Serving:
    """The model that serves, what was asked for, and why they differ if they do."""

    model: Model
    requested: str
    fallback_reason: str | None = None

    @property
    def fallback(self) -> bool:
        """Whether something else serves than was asked for."""
        return self.fallback_reason is not None

    @property
    def name(self) -> str:
        """`<variant>-<version>`."""
        return f"{self.model.variant}-{self.model.version}"


class ModelHolder:
    """One reference to what serves.

    Read `current` once a request: number, variant and version then belong together whatever is
    swapped in meanwhile. A swap replaces the reference and touches nothing else.
    """

    def __init__(self, serving: Serving) -> None:
        self._current = serving

    @property
    def current(self) -> Serving:
        """What serves now."""
        return self._current

    def swap(self, serving: Serving) -> Serving:
        """Serve something else from the next request on; returns what served before."""
        previous, self._current = self._current, serving
        return previous
