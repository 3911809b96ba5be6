"""The rates of the filter of bad prints, on a recording of the repository."""

from __future__ import annotations

import sys

import pytest

from tests.benchmarks import bad_prints
from tests.recordings import TICKERS


def table(monkeypatch: pytest.MonkeyPatch, output: pytest.CaptureFixture[str], *more: str) -> str:
    """Return the last line that the command prints for a recording."""
    monkeypatch.setattr(sys, "argv", ["bad_prints", str(TICKERS), *more])
    bad_prints.main()
    return output.readouterr().out.splitlines()[-1]


def test_true_ticks_are_kept_and_planted_ones_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No tick of a calm market is held; every planted print of 5 % is dropped."""
    line = table(monkeypatch, capsys)
    assert "| 0 (0.0 per million) | - | 0 (0.00 per million) | 100.0% |" in line


def test_a_filter_that_is_off_finds_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With `--sigmas 0` planted prints stay."""
    assert table(monkeypatch, capsys, "--sigmas", "0").endswith("| 0.0% |")
