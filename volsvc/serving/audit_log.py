"""The history of the active model: JSON lines, each with the hash of the one before.

A line that is changed, dropped or inserted later breaks the chain from there on. Files are rotated
and the chain continues across them. The oldest of many files are deleted; the chain then begins at
the oldest one left. Folder, health check and metric have the name `journal`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections import deque
from collections.abc import Iterator, Mapping
from io import FileIO
from operator import index
from pathlib import Path
from typing import Any, Final

from volsvc.domain import VolsvcError, format_time, parse_time
from volsvc.failpoints import failpoint
from volsvc.safe_io.disk import append_whole

FILE: Final = "models.jsonl"
# Size of a file at which the next one is begun.
MAX_BYTES: Final = 256 * 1024
MAX_FILES: Final = 20
# Entries that wait for a disk that refuses them; far more than an outage brings about.
MAX_WAITING: Final = 1_000
GENESIS: Final = "0" * 64


class AuditLogError(VolsvcError):
    """The chain of an audit log is broken; the text names the file and the line."""


class AuditLog:
    """The audit log of one daemon, in a folder that it owns.

    `waiting` is the number of entries that could not be written yet, `lost` of those for which
    there was no room.
    """

    def __init__(self, folder: Path) -> None:
        """Continue after the last complete line.

        A broken chain is moved to a folder of its own and `note` describes it, else `note` is
        empty. Raises OSError if the folder cannot be written.
        """
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / FILE
        self._waiting: deque[tuple[int, Mapping[str, Any]]] = deque(maxlen=MAX_WAITING)
        self.lost = 0
        self._size = self._cut_torn_line()
        try:
            last = next(reversed(list(entries(folder))), None)
        except AuditLogError as error:
            aside = folder / f"broken-{os.urandom(4).hex()}"
            aside.mkdir()
            for path in _files(folder):
                path.rename(aside / path.name)
            self._seq, self._hash, self._size = 0, GENESIS, 0
            self.note = f"{error}; put aside in {aside.name}"
            return
        self._seq = last["seq"] if last else 0
        self._hash = last["hash"] if last else GENESIS
        self.note = ""

    def _cut_torn_line(self) -> int:
        """Remove an incomplete last line, which a write that did not end leaves.

        Returns the size of the file then.
        """
        if not self._path.exists():
            return 0
        data = self._path.read_bytes()
        complete = data.rfind(b"\n") + 1
        if complete == 0:
            # Deleted and not emptied: `entries` takes a file without a line for a damaged one.
            self._path.unlink()
        elif complete < len(data):
            os.truncate(self._path, complete)
        return complete

    @property
    def waiting(self) -> int:
        """The number of entries that could not be written yet."""
        return len(self._waiting)

    def append(self, time_ns: int, facts: Mapping[str, Any]) -> None:
        """Add an entry; raises OSError if it cannot be written yet, and then keeps it."""
        self.lost += len(self._waiting) == MAX_WAITING
        self._waiting.append((time_ns, facts))
        self.flush()

    def flush(self) -> None:
        """Write the entries that wait; raises OSError if they still cannot be written."""
        while self._waiting:
            self._write(*self._waiting[0])
            self._waiting.popleft()

    def _write(self, time_ns: int, facts: Mapping[str, Any]) -> None:
        entry = {"seq": self._seq + 1, "time": format_time(time_ns), **facts, "prev": self._hash}
        entry["hash"] = _hash(entry)
        line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
        self._rotate(len(line))
        try:
            with FileIO(self._path, "r+" if self._path.exists() else "x") as file:
                failpoint("audit_log_opened")
                size = append_whole(file, self._size, line)
        except OSError:
            # Removes a new file without a line. The error that counts is the first one.
            with contextlib.suppress(OSError):
                self._cut_torn_line()
            raise
        # Only after the write, so that an entry that could not be written leaves no hole.
        self._seq, self._hash, self._size = entry["seq"], entry["hash"], size

    def _rotate(self, added_bytes: int) -> None:
        if self._size == 0 or self._size + added_bytes <= MAX_BYTES:
            return
        # A part of a line may be left, if the disk refused to cut it too.
        os.truncate(self._path, self._size)
        # Padded, so that names sort in the order of the chain.
        self._path.rename(self._folder / f"models-{self._seq:012d}.jsonl")
        self._size = 0
        failpoint("audit_log_rotated")
        for path in _files(self._folder)[: 1 - MAX_FILES]:
            path.unlink()

    def newest(self, limit: int) -> list[Mapping[str, Any]]:
        """Return the newest entries, newest first."""
        return list(reversed(list(entries(self._folder))[-limit:]))

    def at(self, time_ns: int) -> Mapping[str, Any] | None:
        """Return the entry in force at a time; see `served_at`."""
        return served_at(self._folder, time_ns)


def served_at(folder: Path, time_ns: int) -> Mapping[str, Any] | None:
    """Return the entry in force at a time; None before the first and after a stop.

    Raises AuditLogError if the chain is broken.
    """
    found = None
    for entry in entries(folder):
        if parse_time(entry["time"]) > time_ns:
            break
        found = entry
    return None if found is None or found["kind"] == "stop" else found


def verify(folder: Path) -> tuple[int, int]:
    """Return the first and last number of an unbroken chain; 0 and 0 for an empty one.

    Raises AuditLogError, which names the file and the line at which the chain breaks.
    """
    numbers = [entry["seq"] for entry in entries(folder)]
    return (numbers[0], numbers[-1]) if numbers else (0, 0)


def entries(folder: Path) -> Iterator[Mapping[str, Any]]:
    """Yield every entry, oldest first; raises AuditLogError at the first that does not fit."""
    before: Mapping[str, Any] | None = None
    for path in _files(folder):
        # Not `splitlines`, which also splits at \r: a newline changed into that must be found.
        *lines, rest = path.read_bytes().split(b"\n")
        for number, line in enumerate(lines, 1):
            before = _checked(line, before, f"{path.name}, line {number}")
            yield before
        # JSON allows white space at the end, so `_checked` would not find a changed last newline.
        if rest or not lines:
            raise AuditLogError(f"{path.name}, line {len(lines) + 1}: is no entry of a journal")


def _checked(line: bytes, before: Mapping[str, Any] | None, where: str) -> Mapping[str, Any]:
    """Return the entry of a line that follows `before`; raises AuditLogError."""
    try:
        entry = json.loads(line)
        facts = {name: value for name, value in entry.items() if name != "hash"}
        # Not `int`, which would accept a text, with which the next entry could not be compared.
        seq, previous, expected = index(entry["seq"]), entry["prev"], entry["hash"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AuditLogError(f"{where}: is no entry of a journal") from error
    if _hash(facts) != expected:
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
    """Return the files of the chain, oldest first."""
    newest = folder / FILE
    return [*sorted(folder.glob("models-*.jsonl")), *([newest] if newest.exists() else [])]
