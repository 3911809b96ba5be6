"""Files are replaced and extended as a whole, and locks have one holder."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from io import FileIO
from pathlib import Path

import pytest

from tests.crash import Crash, crash
from tests.full_disk import files_end_at
from volsvc.failpoints import armed
from volsvc.safe_io.disk import append_whole, replace_file, replacing, take_lock

OLD, NEW = b"old contents", b"new contents, which are longer"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_a_replaced_file_keeps_its_permissions(mode: int, tmp_path: Path) -> None:
    """They are those of the old file, whatever was asked for; a first file has the given ones."""
    path = tmp_path / "keys.toml"
    replace_file(path, OLD, mode=0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(mode)
    replace_file(path, NEW)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (NEW, mode)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")
def test_a_replaced_file_keeps_its_owner(tmp_path: Path) -> None:
    """An operator who adds a key as root does not lock the service out of its file."""
    path = tmp_path / "keys.toml"
    path.write_bytes(OLD)
    os.chown(path, 12_345, 12_346)
    replace_file(path, NEW)
    assert (path.stat().st_uid, path.stat().st_gid) == (12_345, 12_346)


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """The file behind it is replaced."""
    path, link = tmp_path / "a" / "file", tmp_path / "link"
    path.parent.mkdir()
    path.write_bytes(OLD)
    link.symlink_to(path)
    replace_file(link, NEW)
    assert link.is_symlink()
    assert path.read_bytes() == NEW


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    """Nothing else is left either."""
    path = tmp_path / "file"
    path.write_bytes(OLD)
    with files_end_at(len(OLD)), pytest.raises(OSError, match="File too large"):
        replace_file(path, NEW)
    assert [path.read_bytes(), *tmp_path.iterdir()] == [OLD, path]


def test_a_crash_leaves_the_old_file(tmp_path: Path) -> None:
    """Also one right before the new name, and an error of whoever writes."""
    path = tmp_path / "file"
    path.write_bytes(OLD)
    with armed("file_written", crash), pytest.raises(Crash):
        replace_file(path, NEW)
    with suppress(ValueError), replacing(path) as part:
        part.write_bytes(NEW)
        raise ValueError("row")
    assert [path.read_bytes(), *tmp_path.iterdir()] == [OLD, path]


@pytest.mark.parametrize("room", [0, 1, 5])
def test_a_refused_addition_is_taken_back(room: int, tmp_path: Path) -> None:
    """The file has its former length at once; the next addition follows the last whole one."""
    with FileIO(tmp_path / "file", "x+") as file:
        size = append_whole(file, 0, b"one\n")
        with files_end_at(size + room), pytest.raises(OSError, match="File too large"):
            append_whole(file, size, b"two, refused\n")
        assert file.seek(0, os.SEEK_END) == size
        file.write(b"half")
        append_whole(file, size, b"three\n")
    assert (tmp_path / "file").read_bytes() == b"one\nthree\n"


def test_a_file_that_somebody_has_cut_gets_no_gap(tmp_path: Path) -> None:
    """Additions follow what is left."""
    with FileIO(tmp_path / "file", "x") as file:
        assert append_whole(file, 100, b"one\n") == 4
    assert (tmp_path / "file").read_bytes() == b"one\n"


def test_a_lock_has_one_holder(tmp_path: Path) -> None:
    """It is free again once its descriptor is closed."""
    path = tmp_path / "lock"
    held = take_lock(path)
    assert held is not None
    assert take_lock(path) is None
    os.close(held)
    again = take_lock(path)
    assert again is not None
    os.close(again)
