"""Versions that the machine did not let be judged are tried again; verdicts hold."""

from __future__ import annotations

import random

import pytest

from tests.unit.serving.controlled import POLL_S, Controlled

BUSY = "was not proved within model.load_timeout_s = 8"
POSTPONED = f"version 1 could not be judged, and is tried again: {BUSY}"


def busy(controlled: Controlled) -> None:
    """Start on a machine that is too busy to prove the alias's version."""
    controlled.registry.alias = "1"
    controlled.start()
    controlled.loader.busy = BUSY
    controlled.registry.alias = "2"
    controlled.poll()


def test_a_timeout_is_no_verdict(controlled: Controlled) -> None:
    """The version is tried again, and serves once the machine has time for it."""
    controlled.registry.alias = "2"
    controlled.start()
    controlled.told()
    controlled.loader.busy, controlled.registry.alias = BUSY, "1"
    controlled.poll()
    fallback = [("fallback", "alias", POSTPONED, "ml-2")]
    assert controlled.told() == fallback
    assert controlled.holder.current.fallback_reason == POSTPONED
    for _ in range(3):
        controlled.poll()
    assert controlled.told() == [], "the same reason is told once"
    assert len(controlled.delays_s) == 4
    assert controlled.postponements == [("alias", POSTPONED)] * 4
    controlled.loader.busy = ""
    controlled.poll()
    assert controlled.told() == [("return", "alias", "", "ml-1")]
    controlled.poll()
    assert controlled.told() == []


def test_attempts_are_apart(controlled: Controlled, monkeypatch: pytest.MonkeyPatch) -> None:
    """Polls go on meanwhile, with growing delays of attempts; another version has none."""
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    busy(controlled)
    assert controlled.delays_s == [POLL_S]
    for attempts, polls in ((2, 1), (3, 2), (4, 4), (5, 8), (6, 10), (7, 10)):
        for _ in range(polls):
            assert len(controlled.delays_s) == attempts - 1
            controlled.loop.advance(POLL_S)
        assert len(controlled.delays_s) == attempts
    assert controlled.delays_s[-1] == 10 * POLL_S
    controlled.registry.alias = "3"
    controlled.loop.advance(POLL_S)
    assert controlled.delays_s[-1] == POLL_S


def test_an_alias_that_moves_back_is_followed(controlled: Controlled) -> None:
    """The fallback ends, although the model never changed."""
    busy(controlled)
    controlled.told()
    controlled.loader.busy, controlled.registry.alias = "", "1"
    controlled.poll()
    assert controlled.told() == [("return", "alias", "", "ml-1")]


def test_an_operators_choice_ends_the_attempts(controlled: Controlled) -> None:
    """It is newer than the last move of the alias, and holds until the next one."""
    busy(controlled)
    controlled.loader.busy = ""
    controlled.activate("ml", "3")
    controlled.poll()
    assert controlled.holder.current.name == "ml-3"
    controlled.registry.alias = "1"
    controlled.poll()
    assert controlled.holder.current.name == "ml-1"


@pytest.mark.parametrize("variant", ["ml", "baseline"])
def test_a_later_choice_holds_as_well(variant: str, controlled: Controlled) -> None:
    """The version that was left unjudged is not tried again after any further choice."""
    busy(controlled)
    controlled.loader.busy = ""
    controlled.activate("ml", "3")
    controlled.activate(variant, "1" if variant == "ml" else None)
    chosen = controlled.holder.current
    controlled.told()
    controlled.poll()
    assert (controlled.told(), controlled.holder.current) == ([], chosen)


def test_a_signal_tries_at_once(controlled: Controlled) -> None:
    """Whatever delay is left."""
    busy(controlled)
    controlled.loader.busy = ""
    controlled.reload()
    controlled.loop.settle()
    assert controlled.holder.current.name == "ml-2"


def test_a_version_that_is_missing_is_waited_for(controlled: Controlled) -> None:
    """The registry may be restored later."""
    controlled.start(version="9")
    reason = controlled.holder.current.fallback_reason or ""
    assert reason.endswith(": volsvc has no version '9'")
    assert controlled.postponements == [("settings", reason)]
    assert len(controlled.delays_s) == 1
