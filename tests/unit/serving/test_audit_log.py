"""The audit log: changes are detected, and it gives the active model at any time."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.full_disk import files_end_at
from volsvc.domain import NS
from volsvc.failpoints import Point, armed
from volsvc.serving import audit_log as module
from volsvc.serving.audit_log import FILE, AuditLog, AuditLogError, entries, served_at, verify

START = 1_767_571_200 * NS


def fill(folder: Path, count: int, kind: str = "swap") -> None:
    audit_log = AuditLog(folder)
    for index in range(count):
        seq = next(reversed(list(entries(folder))), {"seq": 0})["seq"]
        audit_log.append(START + (seq * 10 + 1) * NS, {"kind": kind, "model": f"ml-{index}"})


@given(data=st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_changed_byte_is_found(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any byte that becomes any other one breaks the chain."""
    folder = tmp_path_factory.mktemp("journal")
    fill(folder, 4)
    path = folder / FILE
    whole = bytearray(path.read_bytes())
    index = data.draw(st.integers(0, len(whole) - 1))
    whole[index] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole)
    with pytest.raises(AuditLogError, match=r"models\.jsonl, line"):
        verify(folder)


@pytest.mark.parametrize("end", [b"\t", b"\r", b" "])
def test_a_changed_last_newline_is_found(tmp_path: Path, end: bytes) -> None:
    """White space in place of the last newline breaks the chain, although JSON allows it."""
    fill(tmp_path, 2)
    path = tmp_path / FILE
    path.write_bytes(path.read_bytes()[:-1] + end)
    with pytest.raises(AuditLogError, match="line 2: is no entry"):
        verify(tmp_path)


def test_a_dropped_line_is_found(tmp_path: Path) -> None:
    """A line that is removed breaks the chain."""
    fill(tmp_path, 5)
    lines = (tmp_path / FILE).read_text().splitlines(keepends=True)
    (tmp_path / FILE).write_text("".join(lines[:2] + lines[3:]))
    with pytest.raises(AuditLogError, match="line 3: does not follow entry 2"):
        verify(tmp_path)


def test_the_chain_continues_over_restarts_and_rotation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chain continues across restarts and files; the oldest files are deleted."""
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    monkeypatch.setattr(module, "MAX_FILES", 4)
    for _ in range(6):
        fill(tmp_path, 10)
    first, last = verify(tmp_path)
    assert last == 60
    assert 1 < first < 60
    assert len(list(tmp_path.iterdir())) == 4
    assert [e["seq"] for e in AuditLog(tmp_path).newest(3)] == [60, 59, 58]


def test_the_entry_in_force_at_a_time(tmp_path: Path) -> None:
    """The entry before a time is in force; none before the first and after a stop."""
    fill(tmp_path, 3)
    fill(tmp_path, 1, "stop")
    assert served_at(tmp_path, START) is None
    found = served_at(tmp_path, START + 11 * NS)
    assert found is not None
    assert found["model"] == "ml-1"
    assert served_at(tmp_path, START + 15 * NS) == found
    assert served_at(tmp_path, START + 99 * NS) is None
    assert AuditLog(tmp_path).at(START + 11 * NS) == found


def test_a_file_is_filled_up_to_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next file is begun by the entry that would exceed it."""
    fill(tmp_path, 2)
    size = (tmp_path / FILE).stat().st_size
    for limit, files in ((size, 1), (size - 1, 2)):
        folder = tmp_path / str(limit)
        monkeypatch.setattr(module, "MAX_BYTES", limit)
        fill(folder, 2)
        assert len(list(folder.iterdir())) == files
        assert verify(folder) == (1, 2)


@pytest.mark.parametrize("broken", [False, True], ids=["a new log", "after a broken one"])
def test_a_first_entry_is_written_whatever_its_size(
    broken: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry larger than a file may be fills one alone; no empty file precedes it."""
    if broken:
        (tmp_path / FILE).write_text("no entry\n")
    log = AuditLog(tmp_path)
    assert bool(log.note) == broken
    monkeypatch.setattr(module, "MAX_BYTES", 1)
    for files in (1, 2):
        log.append(START, {"kind": "swap"})
        assert len(list(tmp_path.glob("*.jsonl"))) == files
    assert verify(tmp_path) == (1, 2)


def test_a_log_without_entries_has_no_numbers(tmp_path: Path) -> None:
    """An empty folder is an unbroken chain."""
    assert verify(tmp_path) == (0, 0)


def test_an_entry_is_a_line_without_blanks(tmp_path: Path) -> None:
    """Names stand in the order in which facts were given, after number and time."""
    AuditLog(tmp_path).append(START, {"kind": "swap", "model": "ml 1"})
    (line,) = (tmp_path / FILE).read_text().splitlines()
    entry = json.loads(line)
    assert list(entry) == ["seq", "time", "kind", "model", "prev", "hash"]
    assert line == json.dumps(entry, separators=(",", ":"))


@pytest.mark.parametrize("torn", ['{"seq":1,"ti', "{"])
def test_a_torn_first_line_leaves_an_empty_log(tmp_path: Path, torn: str) -> None:
    """A crash in the first write of all is no damage."""
    (tmp_path / FILE).write_text(torn)
    assert AuditLog(tmp_path).note == ""
    fill(tmp_path, 1)
    assert verify(tmp_path) == (1, 1)


@pytest.mark.parametrize("entries_before", [0, 2])
@pytest.mark.parametrize("written", [0, 1, 50])
def test_a_line_that_was_written_in_part_is_cut(
    written: int, entries_before: int, tmp_path: Path
) -> None:
    """A full disk delays the entry; the log can be read meanwhile."""
    fill(tmp_path, entries_before)
    log, path = AuditLog(tmp_path), tmp_path / FILE
    size = path.stat().st_size if entries_before else 0
    with files_end_at(size + written), pytest.raises(OSError, match="File too large"):
        log.append(START, {"kind": "swap"})
    assert (len(log.newest(9)), log.waiting) == (entries_before, 1)
    log.append(START, {"kind": "swap"})
    assert (verify(tmp_path), log.waiting) == ((1, entries_before + 2), 0)


def test_an_entry_that_could_not_be_written_leaves_no_hole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written before the next one, also after a file that was full."""
    points: tuple[Point, ...] = ("audit_log_opened", "audit_log_rotated")

    def full() -> None:
        raise OSError(28, "No space left on device")

    log = AuditLog(tmp_path)
    log.append(START, {"kind": "start"})
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    for point in points:
        with armed(point, full), pytest.raises(OSError, match="No space"):
            log.append(START, {"kind": "swap"})
        log.append(START, {"kind": "swap"})
    assert verify(tmp_path) == (1, 5)


def test_a_line_that_could_not_be_cut_is_cut_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next entry is not added to it, and it does not get into a full file."""
    fill(tmp_path, 2)
    log, path = AuditLog(tmp_path), tmp_path / FILE
    for limit in (module.MAX_BYTES, path.stat().st_size):
        monkeypatch.setattr(module, "MAX_BYTES", limit)
        with path.open("a") as file:
            file.write('{"seq":3,"ti')
        log.append(START, {"kind": "swap"})
    assert verify(tmp_path) == (1, 4)


def test_a_torn_line_is_cut(tmp_path: Path) -> None:
    """Half a line, left by a crash, is removed; the log continues after the complete ones."""
    fill(tmp_path, 2)
    with (tmp_path / FILE).open("a") as file:
        file.write('{"seq":3,"ti')
    fill(tmp_path, 1)
    assert verify(tmp_path) == (1, 3)


def test_a_broken_log_is_put_aside(tmp_path: Path) -> None:
    """A new chain begins, the old one is kept unchanged, and the note names its fault."""
    fill(tmp_path, 3)
    path = tmp_path / FILE
    path.write_text(path.read_text().replace("ml-1", "ml-9"))
    audit_log = AuditLog(tmp_path)
    (aside,) = tmp_path.glob("broken-*")
    assert re.fullmatch("broken-[0-9a-f]{8}", aside.name)
    fault = "was changed, its hash does not fit"
    assert audit_log.note == f"{FILE}, line 2: {fault}; put aside in {aside.name}"
    audit_log.append(START, {"kind": "start"})
    assert verify(tmp_path) == (1, 1)
    assert json.loads((aside / FILE).read_text().splitlines()[1])["model"] == "ml-9"
