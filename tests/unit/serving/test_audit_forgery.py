"""Forged audit logs: every entry has a hash that fits its own facts, but the chain is broken."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from volsvc.domain import NS
from volsvc.serving import audit_log as module
from volsvc.serving.audit_log import FILE, GENESIS, AuditLog, AuditLogError, served_at, verify

START = 1_767_571_200 * NS
COUNT = 6

Entry = dict[str, Any]
Forgery = Callable[[list[Entry], int], None]


def fill(folder: Path, count: int, first: int = 0) -> list[Entry]:
    """Write entries, and return those of the newest file."""
    log = AuditLog(folder)
    for index in range(first, first + count):
        log.append(START + index * NS, {"kind": "swap", "model": f"ml-{index}"})
    return [json.loads(line) for line in (folder / FILE).read_text().splitlines()]


def sealed(entry: Entry, **changes: Any) -> Entry:
    """Return an entry with other facts and the hash that fits them."""
    facts = {**entry, **changes}
    facts.pop("hash", None)
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return {**facts, "hash": hashlib.sha256(text.encode()).hexdigest()}


def write(path: Path, entries: list[Entry]) -> None:
    path.write_text("".join(json.dumps(e, separators=(",", ":")) + "\n" for e in entries))


def renumber(entries: list[Entry]) -> None:
    """Number the entries anew; each keeps its `prev`."""
    entries[:] = [sealed(entry, seq=number) for number, entry in enumerate(entries, 1)]


def chained(entries: list[Entry], first: int) -> None:
    """Let each entry from an index on follow the one before it, whatever their numbers."""
    for index in range(max(first, 1), len(entries)):
        entries[index] = sealed(entries[index], prev=entries[index - 1]["hash"])


def remove(entries: list[Entry], at: int) -> None:
    del entries[at]
    renumber(entries)


def remove_and_chain(entries: list[Entry], at: int) -> None:
    del entries[at]
    chained(entries, at)


def swap(entries: list[Entry], at: int) -> None:
    entries[at], entries[at + 1] = entries[at + 1], entries[at]
    renumber(entries)


def replace(entries: list[Entry], at: int) -> None:
    entries[at] = sealed(entries[at], model="ml-666")


def change_time(entries: list[Entry], at: int) -> None:
    entries[at] = sealed(entries[at], time="2020-01-01T00:00:00.000Z")


def change_prev(entries: list[Entry], at: int) -> None:
    entries[at] = sealed(entries[at], prev="f" * 64)


def forget_prev(entries: list[Entry], at: int) -> None:
    entries[at] = sealed(entries[at], prev=GENESIS)


def repeat(entries: list[Entry], at: int) -> None:
    entries.insert(at, entries[at])


def insert(entries: list[Entry], at: int) -> None:
    """Put an entry between that follows rightly; what comes after it is numbered anew."""
    entries.insert(at + 1, sealed(entries[at], prev=entries[at]["hash"], model="ml-666"))
    renumber(entries)


def skip_a_number(entries: list[Entry], at: int) -> None:
    entries[at:] = [sealed(entry, seq=entry["seq"] + 1) for entry in entries[at:]]
    chained(entries, at)


def repeat_a_number(entries: list[Entry], at: int) -> None:
    entries[at:] = [sealed(entry, seq=entry["seq"] - 1) for entry in entries[at:]]
    chained(entries, at)


FORGERIES: tuple[Forgery, ...] = (
    remove,
    remove_and_chain,
    swap,
    replace,
    change_time,
    change_prev,
    forget_prev,
    repeat,
    insert,
    skip_a_number,
    repeat_a_number,
)


def assert_refused(folder: Path) -> None:
    """No reader takes the log; the daemon puts it aside and starts another."""
    with pytest.raises(AuditLogError, match=r"models.*\.jsonl, line \d+"):
        verify(folder)
    with pytest.raises(AuditLogError):
        served_at(folder, START + 1_000 * NS)
    log = AuditLog(folder)
    assert "put aside" in log.note
    log.append(START, {"kind": "start"})
    assert verify(folder) == (1, 1)


@pytest.mark.parametrize("at", range(1, COUNT - 1))
@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_broken_chain_of_fitting_hashes_is_refused(
    forgery: Forgery, at: int, tmp_path: Path
) -> None:
    """Hashes that fit each entry do not help whoever changes the middle of a log."""
    entries = fill(tmp_path, COUNT)
    forgery(entries, at)
    write(tmp_path / FILE, entries)
    assert_refused(tmp_path)


def test_an_untouched_log_is_accepted(tmp_path: Path) -> None:
    """The forger's own hashes are those of the log, so that they are no reason to refuse it."""
    entries = fill(tmp_path, COUNT)
    assert [sealed(entry) for entry in entries] == entries
    renumber(entries)
    chained(entries, 0)
    write(tmp_path / FILE, entries)
    assert verify(tmp_path) == (1, COUNT)
    assert AuditLog(tmp_path).note == ""


@pytest.mark.parametrize("count", [1, COUNT])
def test_the_first_entry_follows_none(count: int, tmp_path: Path) -> None:
    """A first entry that claims to follow another one is refused, even if it stands alone."""
    entries = fill(tmp_path, count)
    change_prev(entries, 0)
    chained(entries, 1)
    write(tmp_path / FILE, entries)
    assert_refused(tmp_path)


@pytest.mark.parametrize("seq", ["2", 2.0, 2.5, True, None, [2]])
def test_a_number_that_is_none_is_refused(seq: Any, tmp_path: Path) -> None:
    """Numbers are whole numbers, so that each can be compared with the next."""
    entries = fill(tmp_path, 2)
    write(tmp_path / FILE, [entries[0], sealed(entries[1], seq=seq)])
    assert_refused(tmp_path)


@pytest.fixture
def rotated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files of a log of five files, oldest first."""
    monkeypatch.setattr(module, "MAX_BYTES", 700)
    count = 0
    while len(list(tmp_path.iterdir())) < 5:
        fill(tmp_path, 1, count)
        count += 1
    assert verify(tmp_path) == (1, count)
    return [*sorted(tmp_path.glob("models-*")), tmp_path / FILE]


def test_a_file_from_the_middle_is_missed(rotated: list[Path]) -> None:
    """A log without one of its files is refused, also if the rest is numbered anew."""
    rotated[2].unlink()
    number = 0
    for path in (*rotated[:2], *rotated[3:]):
        entries = [json.loads(line) for line in path.read_text().splitlines()]
        numbers = range(number + 1, number + 1 + len(entries))
        write(path, [sealed(e, seq=seq) for e, seq in zip(entries, numbers, strict=True)])
        number += len(entries)
    assert_refused(rotated[0].parent)


def test_files_in_another_order_are_refused(rotated: list[Path]) -> None:
    """Two files that exchanged their names are refused."""
    first, second = rotated[1].read_bytes(), rotated[2].read_bytes()
    rotated[1].write_bytes(second)
    rotated[2].write_bytes(first)
    assert_refused(rotated[0].parent)


def test_the_end_of_another_log_is_refused(tmp_path: Path) -> None:
    """Entries of another daemon's log, with the right numbers, do not continue this one."""
    mine, theirs = fill(tmp_path / "mine", COUNT), fill(tmp_path / "theirs", COUNT, first=1)
    write(tmp_path / "mine" / FILE, [*mine[:3], *theirs[3:]])
    assert_refused(tmp_path / "mine")
