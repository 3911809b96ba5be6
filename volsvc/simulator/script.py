"""The script of a simulated exchange: how it behaves, and which faults it has when."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from volsvc.domain import SourceError

Kind = Literal[
    "clock_skew",
    "disconnect",
    "drip",
    "duplicate",
    "error",
    "half_open",
    "malformed",
    "refuse",
    "reorder",
    "rest_429",
    "sequence_reset",
    "skip",
    "snapshot",
    "stall",
]


class Part(BaseModel):
    """Closed to unknown keys, as the configuration is."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


class Fault(Part):
    """One fault, at a step of the tape (the first is 1) or every so many seconds.

    `count` is how many steps, subscriptions or REST requests it concerns. For `disconnect`,
    `half_open` and `stall` these are the steps that pass unseen, for `malformed` and `drip` always
    one. `seconds` is the skew of the clock, the length of a drip, or what a 429 asks to wait.
    """

    kind: Kind
    at: NonNegativeInt | None = None
    every_s: PositiveFloat | None = None
    count: PositiveInt = 1
    seconds: float = 1.0

    @model_validator(mode="after")
    def _has_its_time(self) -> Fault:
        if (self.at is None) == (self.every_s is None):
            raise ValueError("needs either `at` or `every_s`")
        if self.every_s is not None and self.kind != "disconnect":
            raise ValueError("`every_s` is for `disconnect` alone")
        return self


class Script(Part):
    """How the exchange behaves; without faults it is a good one.

    A step of the tape is what one symbol trades in `batch_ms`. The tape starts when somebody has
    subscribed to every symbol of `wait_for`, and stands still while nobody listens, so that a
    client misses what the script says and nothing else.
    """

    batch_ms: PositiveInt = 250
    heartbeat_s: PositiveFloat = 1.0
    snapshot_trades: NonNegativeInt = 100
    wait_for: tuple[str, ...] = ()
    fault: Annotated[tuple[Fault, ...], Field(max_length=10_000)] = ()


def read_script(path: Path) -> Script:
    """A script in TOML or JSON; raises SourceError, which names file, key and fault."""
    try:
        text = path.read_text()
        values = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        return Script.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise SourceError(f"{path}: {place}: {first['msg']}") from error
    except (OSError, ValueError) as error:
        raise SourceError(f"{path}: is no script: {error}") from error
