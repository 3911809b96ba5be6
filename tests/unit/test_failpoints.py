"""Failpoints: their names, and how a test arms one."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import cast

import pytest

from tests.crash import crash
from tests.unit.test_layers import MODULES, imported, module_of
from volsvc.failpoints import POINTS, Point, armed, failpoint


def named() -> Iterator[str]:
    """The points in our code, as they stand in its calls."""
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("failpoint"):
                yield ast.literal_eval(node.args[0])


def test_every_point_is_somewhere() -> None:
    """Each name of the list marks one place, and each place has a name of the list."""
    assert sorted(named()) == sorted(POINTS)


def test_only_tests_arm_points() -> None:
    """No module of ours can arm a point: none imports more than `failpoint`."""
    found = {
        (module_of(path), name)
        for path in MODULES
        for name in imported(path)
        if name.startswith("volsvc.failpoints.") and name != "volsvc.failpoints.failpoint"
    }
    assert found == set()


def test_a_point_acts_while_it_is_armed() -> None:
    """An action is called from the passage after the given number on, at its own point alone."""
    passed: list[str] = []
    failpoint("before_commit")
    with armed("before_commit", lambda: passed.append("late"), after=2):
        with armed("after_commit", lambda: passed.append("other")):
            for _ in range(4):
                failpoint("before_commit")
            failpoint("after_commit")
        failpoint("after_commit")
    failpoint("before_commit")
    assert passed == ["late", "late", "other"]


def test_a_failed_action_disarms_its_point() -> None:
    """An error of an action comes out of its point, which is no longer armed afterwards."""

    def fail() -> None:
        raise OSError("full")

    with pytest.raises(OSError, match="full"), armed("before_commit", fail):
        failpoint("before_commit")
    failpoint("before_commit")


def test_unknown_names_are_refused() -> None:
    """Neither can a point without a name on the list be armed, nor passed while one is armed."""
    unknown = cast("Point", "before_comit")
    with pytest.raises(ValueError, match=r"'before_comit' is no failpoint: .*before_commit"):
        armed(unknown, crash).__enter__()
    with armed("before_commit", crash), pytest.raises(ValueError, match="is no failpoint"):
        failpoint(unknown)
