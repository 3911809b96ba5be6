"""Tests of the names of instances on one host."""

from __future__ import annotations

from pathlib import Path

from volsvc.daemon.instance_name import InstanceName


def test_each_process_has_its_own_name(tmp_path: Path) -> None:
    """A second process gets another name, and a released name is given again."""
    first = InstanceName("host/1", tmp_path)
    second = InstanceName("host/1", tmp_path)
    assert (first.name, second.name) == ("host_1", "host_1-2")
    first.release()
    again = InstanceName("host/1", tmp_path)
    assert again.name == "host_1"
    again.release()
    second.release()
