"""The script of a simulated exchange: its behaviour and its faults."""

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

FaultKind = Literal[
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
    "rest_empty",
    "rest_half",
    "rest_slow",
    "sequence_reset",
    "skip",
    "snapshot",
    "stall",
]


class ScriptSection(BaseModel):
    """A table of the script, which refuses unknown keys as the configuration does."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


class Fault(ScriptSection):
    """One fault, `at` a step (the first is 1, 0 is before it) or every `every_s` seconds.

    `count` is the number of steps, subscriptions or REST requests that it affects. For
    `disconnect`, `half_open` and `stall` these are the steps that pass unseen; `malformed` and
    `drip` always affect one. `seconds` is the skew of the clock, the duration of a drip, the
    Retry-After of a 429, or the time that a slow answer takes. Of an answer in half the newer items
    are missing.
    """

    kind: FaultKind
    at: NonNegativeInt | None = None
    every_s: PositiveFloat | None = None
    count: PositiveInt = 1
    seconds: float = 1.0

    @model_validator(mode="after")
    def _check_timing(self) -> Fault:
        if (self.at is None) == (self.every_s is None):
            raise ValueError("needs either `at` or `every_s`")
        if self.every_s is not None and self.kind != "disconnect":
            raise ValueError("`every_s` is for `disconnect` alone")
        return self


class Script(ScriptSection):
    """The behaviour of the exchange, by default without faults.

    A step is the trades of one symbol in `batch_ms`. The playback starts when every symbol of
    `wait_for` has been subscribed to, and stands still while there is no subscriber, so that a
    client misses the steps that the script selects and no others.
    """

    batch_ms: PositiveInt = 250
    heartbeat_s: PositiveFloat = 1.0
    snapshot_trades: NonNegativeInt = 100
    wait_for: tuple[str, ...] = ()
    fault: Annotated[tuple[Fault, ...], Field(max_length=10_000)] = ()


def read_script(path: Path) -> Script:
    """Read a script in TOML or JSON.

    Raises SourceError, which names the file, the key and the error.
    """
    try:
        text = path.read_text()
        values = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        return Script.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise SourceError(f"{path}: {place}: {first['msg']}") from error
    except (OSError, ValueError) as error:
        raise SourceError(f"{path}: is not a script: {error}") from error
