"""The narration of the demo, in the terminal and as a recording for asciinema."""

from __future__ import annotations

import json
import textwrap
import time
from pathlib import Path
from typing import Final

COLUMNS, ROWS = 100, 32
_INDENT: Final = "     "
_BOLD, _DIM, _GREEN, _RED, _PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[31m", "\x1b[0m"


class Narrator:
    """Prints lines, and records each with its time (asciicast v2)."""

    def __init__(self, title: str) -> None:
        self._began = time.monotonic()
        self._title = title
        self._events: list[tuple[float, str, str]] = []
        self._act = 0

    @property
    def elapsed_s(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def act(self, title: str) -> None:
        """Print the heading of a new part."""
        self._act += 1
        self._line("")
        self._line(f"{_BOLD}{self._act}. {title}{_PLAIN}   {_DIM}{self.elapsed_s:.0f} s{_PLAIN}")

    def say(self, text: str) -> None:
        """Print the current action and its reason."""
        for line in textwrap.wrap(text, COLUMNS - len(_INDENT)):
            self._line(f"{_INDENT}{line}")

    def show(self, what: str, value: object) -> None:
        """Print a measured fact."""
        self._line(f"{_INDENT}{_DIM}{what:.<28}{_PLAIN} {_GREEN}{value}{_PLAIN}")

    def trouble(self, what: str, value: object) -> None:
        """Print a fault that was caused on purpose."""
        self._line(f"{_INDENT}{_DIM}{what:.<28}{_PLAIN} {_RED}{value}{_PLAIN}")

    def _line(self, text: str) -> None:
        print(text, flush=True)
        self._events.append((round(self.elapsed_s, 3), "o", f"{text}\r\n"))

    def save(self, path: Path) -> None:
        """Write the recording: a header, then one JSON array a line."""
        header = {
            "version": 2,
            "width": COLUMNS,
            "height": ROWS,
            "timestamp": round(time.time() - self.elapsed_s),
            "title": self._title,
        }
        lines = [json.dumps(header), *(json.dumps(event) for event in self._events)]
        path.write_text("\n".join(lines) + "\n")
