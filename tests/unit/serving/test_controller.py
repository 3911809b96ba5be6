"""The controller of the active model: what it reports, its pauses, and reloads."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from tests.daemon import eventually
from tests.unit.serving.controlled import POLL_S, Controlled
from tests.unit.serving.registry import (
    MODELS,
    PACKAGED,
    REFUSED,
    REGISTERED_BASELINE,
    HeldLoader,
    Registry,
)
from tests.unit.serving.test_holder import fitted
from volsvc.config.model import ModelSettings
from volsvc.serving.artefact_cache import LastGood
from volsvc.serving.controller import ModelController, ModelRefusedError
from volsvc.serving.holder import ModelHolder
from volsvc.serving.listeners import ModelListener
from volsvc.serving.model_choice import DesiredModel
from volsvc.serving.registry_client import RegistryAwayError
from volsvc.telemetry.health import Health
from volsvc.telemetry.metrics import Metrics


async def test_a_reload_in_the_middle_of_a_poll_is_followed_at_once() -> None:
    """The version of new settings serves as soon as the version before is loaded."""
    settings, registry = ModelSettings(poll_s=3_600), Registry()
    holder, loader = ModelHolder(DesiredModel("ml", PACKAGED)), HeldLoader(registry, None)
    listener = ModelListener(Metrics(), Health(), None)
    controller = ModelController(settings, holder, loader, listener)
    registry.alias = "1"
    loader.open.clear()
    running = asyncio.create_task(controller.run())

    async def loading() -> bool:
        return loader.resolved == "1"

    async def followed() -> bool:
        return holder.current.name == "ml-2"

    await eventually(loading, 10, "the alias's version is loaded")
    controller.reload(ModelSettings(version="2"))
    loader.open.set()
    await eventually(followed, 10, "the version of the settings serves")
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


def note_of(seen: str) -> LastGood:
    return LastGood("", "", PACKAGED.version, PACKAGED.digest, "", seen)


# --- the alias and the settings -----------------------------------------------------------


def test_what_is_told_of_an_alias_that_moves(controlled: Controlled) -> None:
    """Each change has its trigger; a refusal is told with its reason, and stays until a change."""
    controlled.registry.alias = "1"
    controlled.start()
    assert controlled.told() == [("swap", "alias", "", "ml-1")]
    controlled.registry.alias = REGISTERED_BASELINE
    controlled.poll()
    assert controlled.told() == [("swap", "alias", "version 5", "baseline-2")]
    assert not controlled.holder.current.fallback
    controlled.registry.alias = "2"
    controlled.poll()
    assert controlled.told() == [("swap", "alias", "", "ml-2")]
    controlled.registry.alias = REFUSED
    controlled.poll()
    reason = "version 4 is refused: is not finite"
    refused = [("refused", "alias", reason, "ml-2"), ("fallback", "alias", reason, "ml-2")]
    assert controlled.told() == refused
    controlled.poll()
    assert controlled.told() == []
    assert controlled.holder.desired.load_error == reason
    assert controlled.polls == [("", False)] * 5


def test_the_version_of_the_settings_comes_before_the_alias(controlled: Controlled) -> None:
    """The trigger is the settings then, also of a refusal."""
    controlled.registry.alias = "1"
    controlled.start(version="2")
    assert controlled.told() == [("swap", "settings", "", "ml-2")]
    controlled.reload(version=REFUSED)
    controlled.loop.settle()
    assert [event[:2] for event in controlled.told()] == [
        ("refused", "settings"),
        ("fallback", "settings"),
    ]


def test_polls_come_at_the_interval_of_the_settings(controlled: Controlled) -> None:
    """A poll after each model.poll_s, while the registry answers."""
    controlled.start()
    for polls in range(1, 4):
        assert len(controlled.polls) == polls
        controlled.loop.advance(POLL_S - 1)
        assert len(controlled.polls) == polls
        controlled.loop.advance(1)


def test_pauses_grow_while_the_registry_is_away(controlled: Controlled) -> None:
    """Up to ten intervals; half an interval is the least."""
    controlled.registry.away = True
    random.seed(3)
    ceilings = [min(POLL_S * 2**failures, 10 * POLL_S) for failures in range(8)]
    pauses = [random.uniform(0, ceiling) / 2 + POLL_S / 2 for ceiling in ceilings]
    random.seed(3)
    controlled.start()
    for failures, pause_s in enumerate(pauses, 1):
        controlled.loop.advance(pause_s - 1e-3)
        assert controlled.polls == [("does not answer", n >= 3) for n in range(1, failures + 1)]
        controlled.loop.advance(2e-3)
    assert len(controlled.polls) == len(pauses) + 1


def test_the_last_good_model_is_a_fallback_until_the_registry_answers(
    controlled: Controlled,
) -> None:
    """It may not be the alias's any more; later a registry that is away changes nothing."""
    controlled.registry.alias, controlled.registry.away = "1", True
    controlled.start(note_of("1"))
    name, reason = f"ml-{PACKAGED.version}", "the last good model serves: does not answer"
    assert controlled.told() == [("fallback", "registry", reason, name)]
    controlled.poll()
    assert controlled.told() == []
    controlled.registry.away = False
    controlled.poll()
    assert controlled.told() == [("return", "registry", "the registry answers", name)]
    controlled.registry.away = True
    controlled.poll()
    assert controlled.told() == []


def test_the_guards_verdict_stays_with_an_artefact(controlled: Controlled) -> None:
    """The same artefact under its number stays stopped, and another one serves."""
    again = fitted("packaged")
    again.digest = MODELS["1"].digest
    controlled.start(model=again)
    controlled.holder.apply(replace(controlled.holder.desired, stopped="is worse"), "guard")
    controlled.registry.alias = "1"
    controlled.poll()
    current = controlled.holder.current
    assert (current.name, current.fallback_reason) == ("baseline-2", "is worse")
    assert controlled.holder.desired.fitted is again
    controlled.registry.alias = "2"
    controlled.poll()
    assert (controlled.holder.current.name, controlled.holder.current.fallback) == ("ml-2", False)


def test_equal_bytes_are_never_a_swap(controlled: Controlled) -> None:
    """A registered packaged model keeps its name; what is recorded is the version of the alias."""
    first = fitted("packaged")
    first.digest = MODELS["1"].digest
    controlled.registry.alias = "1"
    controlled.start(model=first)
    assert (controlled.told(), controlled.holder.current.model) == ([], first)
    assert controlled.holder.previous is None
    assert controlled.loader.note is not None
    assert (controlled.loader.note.version, controlled.loader.note.seen) == (first.version, "1")
    assert controlled.activate("ml", "1").model is first
    assert controlled.told() == []


def test_a_version_with_the_digest_of_the_held_model_is_not_loaded(controlled: Controlled) -> None:
    """It was verified before, whatever the machine is busy with."""
    controlled.registry.alias = "1"
    controlled.registry.tagged = True
    controlled.start(model=MODELS["1"])
    assert controlled.loader.loads == 0
    assert controlled.loader.note is not None
    assert controlled.loader.note.seen == "1"


# --- operators ----------------------------------------------------------------------------


def test_what_is_told_of_an_operators_choices(controlled: Controlled) -> None:
    """Each change and each refusal has the operator's trigger."""
    controlled.start()
    controlled.activate("ml", "1")
    controlled.activate("baseline", None)
    controlled.activate("ml", None)
    controlled.activate("baseline", "2")
    controlled.activate("ml", "2")
    controlled.activate("ml", REGISTERED_BASELINE)
    assert controlled.told() == [
        ("swap", "route", "", name)
        for name in ("ml-1", "baseline-2", "ml-1", "baseline-2", "ml-2", "baseline-2")
    ]
    assert controlled.rollback().name == "ml-2"
    assert controlled.told() == [("rollback", "undo", "back to ml-2", "ml-2")]


@pytest.mark.parametrize(
    ("version", "reason"), [(REFUSED, "is not finite"), ("9", "volsvc has no version '9'")]
)
def test_a_refusal_is_told(version: str, reason: str, controlled: Controlled) -> None:
    """The caller and the listeners get the reason; the active model stays."""
    controlled.start()
    before = controlled.holder.current
    with pytest.raises(ModelRefusedError) as raised:
        controlled.activate("ml", version)
    assert str(raised.value) == reason
    assert controlled.told() == [("refused", "route", reason, before.name)]
    assert controlled.holder.current == before


def test_the_baseline_has_one_version(controlled: Controlled) -> None:
    """Another one cannot be activated."""
    controlled.start()
    with pytest.raises(ModelRefusedError) as raised:
        controlled.activate("baseline", "1")
    assert str(raised.value) == "the baseline is code, this package has version 2"
    assert controlled.told() == []


def test_without_a_change_there_is_no_rollback(controlled: Controlled) -> None:
    """The reason is told."""
    controlled.start()
    with pytest.raises(ModelRefusedError, match=r"^nothing else has served since the start$"):
        controlled.rollback()


def test_a_choice_fails_at_once_while_the_registry_is_left_alone(controlled: Controlled) -> None:
    """The error has the registry's fault and the time of the next attempt."""
    controlled.registry.away = True
    controlled.start()
    controlled.poll()
    controlled.poll()
    asked = controlled.registry.failures
    with pytest.raises(RegistryAwayError, match=r"^does not answer; 3 failures in a row, next"):
        controlled.activate("ml", "1")
    assert controlled.registry.failures == asked


Act = Callable[[Controlled], object]


@pytest.mark.parametrize("act", [lambda c: c.activate("ml", "1"), lambda c: c.activate("ml", None)])
def test_a_choice_survives_a_restart(act: Act, controlled: Controlled) -> None:
    """It is recorded with the alias's version of that time, which is none at first."""
    controlled.start()
    act(controlled)
    assert controlled.loader.note is not None
    assert (controlled.loader.note.seen, controlled.loader.note.digest) == (
        "",
        controlled.holder.current.model.digest,
    )
    controlled.registry.alias = "3"
    controlled.poll()
    act(controlled)
    assert controlled.loader.note.seen == "3"


# --- reloads ------------------------------------------------------------------------------


def test_a_reload_adopts_the_variant(controlled: Controlled) -> None:
    """Its trigger is the signal; the same settings change nothing, and poll at once."""
    controlled.start()
    controlled.reload(variant="baseline")
    assert controlled.told() == [("swap", "sighup", "", "baseline-2")]
    controlled.loop.settle()
    controlled.reload(variant="baseline")
    controlled.loop.settle()
    assert (controlled.told(), len(controlled.polls)) == ([], 3)


def test_a_version_of_new_settings_serves_although_it_was_followed_before(
    controlled: Controlled,
) -> None:
    """An operator's choice in between holds until the settings change."""
    controlled.registry.alias = "1"
    controlled.start()
    controlled.activate("ml", "3")
    controlled.reload()
    controlled.loop.settle()
    assert controlled.holder.current.name == "ml-3"
    controlled.reload(version="1")
    controlled.loop.settle()
    assert controlled.holder.current.name == "ml-1"


def test_a_refused_version_gets_another_chance(controlled: Controlled) -> None:
    """A reload of the same settings tries it again; a second refusal is no swap."""
    controlled.registry.alias = REFUSED
    controlled.start()
    controlled.reload()
    controlled.loop.settle()
    assert [event[0] for event in controlled.told()] == ["refused", "fallback", "refused"]
    controlled.loader.reason = "is slow"
    controlled.reload()
    controlled.loop.settle()
    reason = "version 4 is refused: is slow"
    assert [event[:3] for event in controlled.told()] == [
        (kind, "alias", reason) for kind in ("refused", "fallback")
    ]


def test_a_choice_right_after_a_reload_is_recorded_as_one_before_any_alias(
    controlled: Controlled,
) -> None:
    """A restart then follows the alias afresh."""
    controlled.registry.alias = "1"
    controlled.start()
    controlled.loader.open.clear()
    controlled.reload(version="2")
    controlled.rollback()
    assert controlled.loader.note is not None
    assert controlled.loader.note.seen == ""
