"""Reads and checks the file of objectives and alerts (deploy/slo.yaml)."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from volsvc.domain import VolsvcError
from volsvc.domain.extras import needs_extra

T = TypeVar("T")
SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION: Final = r"[1-9][0-9]*[smhd]"
Duration = Annotated[str, Field(pattern=f"^{_DURATION}$")]
Severity = Literal["page", "ticket"]


class SpecError(VolsvcError):
    """The file of objectives is not valid; the text names file and key."""


class Part(BaseModel):
    """A part of the file: immutable, and without unknown keys."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


class Burn(Part):
    """An alert if both windows spend the budget `rate` times as fast as the period allows."""

    long: Duration
    short: Duration
    rate: Annotated[float, Field(gt=0)]


class Burns(Part):
    """The burn rates that page, and those that open a ticket."""

    page: tuple[Burn, ...]
    ticket: tuple[Burn, ...]


class Objective(Part):
    """A share of good events (`errors` and `total`), or of good time (`gauge`, the bad share)."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
    description: str
    objective: Annotated[float, Field(gt=0, lt=1)]
    page: bool = True
    errors: str | None = None
    total: str | None = None
    gauge: str | None = None

    @model_validator(mode="after")
    def _check_kind(self) -> Objective:
        events = (self.errors is None, self.total is None)
        if len(set(events)) > 1 or events[0] is (self.gauge is None):
            raise ValueError("needs either errors and total, or gauge")
        if any("$window" not in text for text in (self.errors, self.total) if text):
            raise ValueError("errors and total need [$window]")
        return self

    @property
    def budget(self) -> float:
        """The share of events that may be bad."""
        # Rounded, as 1 - 0.999 is 0.0010000000000000009, which would stand in the rules.
        return round(1 - self.objective, 10)


class Alert(Part):
    """One alerting rule."""

    alert: Annotated[str, Field(pattern=r"^Volsvc[A-Za-z]+$")]
    expr: str
    wait: Annotated[Duration | None, Field(alias="for")] = None
    severity: Severity
    summary: str


class Inhibition(Part):
    """Alerts of `quiet` are not sent while one of `by` with equal labels fires."""

    by: tuple[str, ...]
    quiet: tuple[str, ...]
    equal: tuple[str, ...]


class Spec(Part):
    """The whole file; `faster` divides every duration, to rehearse an alert in seconds."""

    job: str
    targets: tuple[str, ...]
    alertmanagers: tuple[str, ...]
    key_file: str = ""
    prometheus: str
    dashboards_folder: str
    scrape_interval: Duration
    period: Duration
    runbook: str
    least_requests: Annotated[int, Field(ge=0)]
    receivers: dict[Severity, str]
    burns: Burns
    objectives: tuple[Objective, ...]
    alerts: tuple[Alert, ...]
    inhibitions: tuple[Inhibition, ...]
    faster: Annotated[int, Field(ge=1)] = 1

    def duration(self, text: str) -> str:
        """Return a duration divided by `faster`."""
        return short_duration(max(1, seconds(text) // self.faster))

    def expression(self, text: str) -> str:
        """Return PromQL on one line, with the job filled in and ranges divided by `faster`."""
        line = " ".join(text.replace("$job", self.job).split())
        return re.sub(rf"\[({_DURATION})\]", lambda found: f"[{self.duration(found[1])}]", line)

    def windows(self) -> list[str]:
        """Return every window of a burn, shortest first."""
        burns = (*self.burns.page, *self.burns.ticket)
        return sorted({window for burn in burns for window in (burn.long, burn.short)}, key=seconds)


def seconds(duration: str) -> int:
    """Return a duration such as `5m` in seconds."""
    return int(duration[:-1]) * SECONDS[duration[-1]]


def short_duration(total: int) -> str:
    """Return seconds in the largest unit that divides them."""
    unit = next(unit for unit in ("d", "h", "m", "s") if total % SECONDS[unit] == 0)
    return f"{total // SECONDS[unit]}{unit}"


def read_spec(path: Path, **changes: Any) -> Spec:
    """Return the file with some keys changed; raises SpecError."""

    def validate(raw: Any) -> Spec:
        if not isinstance(raw, dict):
            raise SpecError(f"{path}: is not a mapping")
        return Spec.model_validate({**raw, **changes})

    return read_yaml(path, validate)


def read_yaml(path: Path, validate: Callable[[Any], T]) -> T:
    """Return a validated YAML file; raises SpecError, which names the file and the key."""
    try:
        import yaml
    except ImportError as error:
        raise SpecError(needs_extra(f"{path}:", "yaml")) from error
    try:
        return validate(yaml.safe_load(path.read_text()))
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror or error}") from error
    except yaml.YAMLError as error:
        raise SpecError(f"{path}: is not valid YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise SpecError(f"{path}: {place}: {first['msg']}") from error
