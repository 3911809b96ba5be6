"""What served when, and why: JSON lines in which each holds the hash of the one before.

A line that is changed, dropped or put in later breaks the chain from there on. Files are rotated
and the chain goes on across them; of many files the oldest are deleted, and the chain then begins
at the oldest that is left.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from volsvc.domain import VolsvcError, format_time, parse_time

FILE: Final = "models.jsonl"
# Of a file, before the next one is begun.
MOST_BYTES: Final = 256 * 1024
MOST_FILES: Final = 20
GENESIS: Final = "0" * 64


class AuditLogError(VolsvcError):
    """A journal whose chain is broken; the text says in which line of which file."""


class AuditLog:
    """The journal of one daemon, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        """Goes on after the last whole line; a broken journal is put aside, and that is noted.

        Raises OSError when the folder cannot be written.
        """
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / FILE
        self._cut_torn_line()
        try:
            last = next(reversed(list(entries(folder))), None)
        except AuditLogError as error:
            aside = folder / f"broken-{os.urandom(4).hex()}"
            aside.mkdir()
            for path in _files(folder):
                path.rename(aside / path.name)
            self._seq, self._hash = 0, GENESIS
            self.note = f"{error}; put aside in {aside.name}"
            return
        self._seq = last["seq"] if last else 0
        self._hash = last["hash"] if last else GENESIS
        self.note = ""

    def _cut_torn_line(self) -> None:
        """A crash in the middle of a write leaves half a line, which no reader has seen whole."""
        if not self._path.exists():
            return
        data = self._path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.truncate(self._path, whole)

    def append(self, time_ns: int, facts: Mapping[str, Any]) -> None:
        """Add an entry; raises OSError when it cannot be written."""
        entry = {"seq": self._seq + 1, "time": format_time(time_ns), **facts, "prev": self._hash}
        entry["hash"] = _hash(entry)
        line = json.dumps(entry, separators=(",", ":")) + "\n"
        self._rotate(len(line))
        with self._path.open("a") as file:
            file.write(line)
        self._seq, self._hash = entry["seq"], entry["hash"]

    def _rotate(self, more: int) -> None:
        if not self._path.exists() or self._path.stat().st_size + more <= MOST_BYTES:
            return
        self._path.rename(self._folder / f"models-{self._seq:012d}.jsonl")
        for path in _files(self._folder)[: 1 - MOST_FILES]:
            path.unlink()

    def newest(self, limit: int) -> list[Mapping[str, Any]]:
        """The newest entries, newest first."""
        return list(reversed(list(entries(self._folder))[-limit:]))

    def at(self, time_ns: int) -> Mapping[str, Any] | None:
        """The entry that says what served at a time; see `served_at`."""
        return served_at(self._folder, time_ns)


def served_at(folder: Path, time_ns: int) -> Mapping[str, Any] | None:
    """The entry that says what served at a time; None before the first, and while none did.

    Raises AuditLogError when the chain is broken.
    """
    found = None
    for entry in entries(folder):
        if parse_time(entry["time"]) > time_ns:
            break
        found = entry
    return None if found is None or found["kind"] == "stop" else found


def verify(folder: Path) -> tuple[int, int]:
    """First and last number of the entries of an unbroken chain; 0 and 0 of an empty one.

    Raises AuditLogError, which says in which line of which file the chain breaks.
    """
    numbers = [entry["seq"] for entry in entries(folder)]
    return (numbers[0], numbers[-1]) if numbers else (0, 0)


def entries(folder: Path) -> Iterator[Mapping[str, Any]]:
    """Every entry, oldest first, each checked; raises AuditLogError at the first that is wrong."""
    before: Mapping[str, Any] | None = None
    for path in _files(folder):
        # Not splitlines: it would take a newline that became another kind of line end.
        for number, line in enumerate(path.read_bytes().removesuffix(b"\n").split(b"\n"), 1):
            before = _checked(line, before, f"{path.name}, line {number}")
            yield before


def _checked(line: bytes, before: Mapping[str, Any] | None, where: str) -> Mapping[str, Any]:
    try:
        entry = json.loads(line)
        facts = {name: value for name, value in entry.items() if name != "hash"}
        seq, previous, stated = int(entry["seq"]), entry["prev"], entry["hash"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AuditLogError(f"{where}: is no entry of a journal") from error
    if _hash(facts) != stated:
        raise AuditLogError(f"{where}: was changed, its hash does not fit")
    if before is not None and (previous != before["hash"] or seq != before["seq"] + 1):
        raise AuditLogError(f"{where}: does not follow entry {before['seq']}")
    if before is None and seq == 1 and previous != GENESIS:
        raise AuditLogError(f"{where}: is not the first entry of a journal")
    return dict(entry)


def _hash(facts: Mapping[str, Any]) -> str:
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _files(folder: Path) -> list[Path]:
    """The files of the chain, oldest first."""
    newest = folder / FILE
    return [*sorted(folder.glob("models-*.jsonl")), *([newest] if newest.exists() else [])]
