"""The comparison with 1.0.0: its installation, the records that both read, and warm states."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.consuming import absorb, accepted, known, table_of, warm_table
from tests.benchmarks.figures import Figure, at_least, at_most
from tests.benchmarks.market import PER_S, tick_records
from tests.benchmarks.recorded import read_records, write_records
from tests.benchmarks.versions import VERSIONS, beside
from tests.needs import ROOT, need

INSTALL = ROOT / "tests" / "benchmarks" / "peers" / "install-v1.sh"


def test_a_checkout_without_the_commit_of_1_0_0_says_how_to_get_it(tmp_path: Path) -> None:
    """Nothing is installed, and what was there before stays."""
    need("git")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    kept = tmp_path / "v1" / "venv"
    kept.mkdir(parents=True)
    done = subprocess.run(
        ["sh", INSTALL, sys.executable, "v1"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "git fetch --unshallow" in done.stderr
    assert kept.exists()


def test_records_in_a_file_are_those_that_were_written(tmp_path: Path) -> None:
    """Key and value come back byte for byte."""
    records = tick_records(3, 4, PER_S)
    write_records(tmp_path / "ticks.records", records)
    assert list(read_records(tmp_path / "ticks.records")) == records


def test_warm_states_know_every_feature_and_take_the_ticks_that_follow() -> None:
    """Copies are warm too, and reject no tick of those that begin at 0."""
    table, records = warm_table(20), tick_records(20, 5, PER_S)
    before = accepted(table).sum()
    absorb(table, records)
    assert accepted(table).sum() == before + len(records)
    assert all(state.quality().bad_prints == 0 for state in table)
    known(table)


def test_a_state_of_less_than_a_minute_is_not_timed() -> None:
    """A benchmark fails instead of showing the time of forecasts without features."""
    table = table_of(1)
    absorb(table, tick_records(1, 20))
    with pytest.raises(AssertionError, match="cold symbol"):
        known(table)


def test_without_1_0_0_only_a_bound_on_our_own_figure_stays() -> None:
    """A ratio to a version that is not installed is no target that was missed."""
    ours, theirs = (Figure(name, "KB", [10.0]) for name in VERSIONS)
    assert beside("memory", ours, [], at_least(7)).target is None
    assert beside("memory", ours, [], at_most(48, "figure")).reached is True
    assert beside("memory", ours, [theirs], at_least(7)).reached is False
