"""States of version 3 and what followed them, as the code before the compiled engine wrote them.

Each line of `version_3.ndjson.gz` is a state (the value of its record of `ticks.features`), the
ticks that followed it, and what that code forecast and scored after them: a recording of a venue; a
bad print that is held; ticks without ids; ticks out of order under a tolerance; a tick whose turn
has come. Its floats have 11 digits, but for those in the states.
"""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

from volsvc.transport import Record

PARTITION = 3
NAMES = ("recording", "held", "without_ids", "tolerance", "waiting")


@cache
def cases() -> dict[str, Any]:
    """Return the lines of the file by name."""
    path = Path(__file__).with_name("version_3.ndjson.gz")
    lines = map(json.loads, gzip.decompress(path.read_bytes()).splitlines())
    return {line["name"]: line for line in lines}


def features_record(case: Any, value: Any) -> Record:
    """Return the record of a state."""
    return Record("ticks.features", PARTITION, 7, case["key"].encode(), json.dumps(value).encode())


def value_of(name: str) -> Any:
    """Return the value of the record of a case."""
    return json.loads(cases()[name]["value"])
