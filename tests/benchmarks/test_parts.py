"""The parts of `make bench`, as they are named on its command line."""

from __future__ import annotations

import sys

import pytest

from tests.benchmarks.__main__ import PARTS, QUICK_PARTS, parsed


def chosen(monkeypatch: pytest.MonkeyPatch, *words: str) -> list[str]:
    """Return the parts that a command line chooses."""
    monkeypatch.setattr(sys, "argv", ["bench", *words])
    return list(parsed().parts)


def test_a_part_that_does_not_exist_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is named, and so is every part that exists; nothing is measured."""
    with pytest.raises(SystemExit) as ended:
        chosen(monkeypatch, "http", "engines", "--quick")
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert f"no such part: engines; there are {', '.join(PARTS)}" in said


def test_parts_are_all_or_those_that_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a name all are measured, of a quick run the quick ones; of an earlier one, none."""
    assert chosen(monkeypatch) == list(PARTS)
    assert chosen(monkeypatch, "--quick") == list(QUICK_PARTS)
    assert chosen(monkeypatch, "engine", "http") == ["engine", "http"]
    assert chosen(monkeypatch, "--join", "a.json") == []
