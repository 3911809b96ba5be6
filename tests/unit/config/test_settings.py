"""Sources and checks of settings."""

import math
from pathlib import Path

import pytest

from volsvc.config.settings import SHORT_NAMES, Settings, SettingsError, known_keys, load_settings


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in SHORT_NAMES:
        monkeypatch.delenv(name, raising=False)


def test_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line overrides the environment, then .env, the file and the default."""
    config = tmp_path / "config.toml"
    assert load_settings(None).replay.speed == 1
    config.write_text("[replay]\nspeed = 2")
    assert load_settings(config).replay.speed == 2
    (tmp_path / ".env").write_text("REPLAY_SPEED=3\n")
    assert load_settings(config).replay.speed == 3
    monkeypatch.setenv("REPLAY_SPEED", "4")
    assert load_settings(config).replay.speed == 4
    monkeypatch.setenv("VOLSVC_REPLAY__SPEED", "5")
    assert load_settings(config).replay.speed == 5
    assert load_settings(config, {"replay": {"speed": "6"}}).replay.speed == 6


@pytest.mark.parametrize(
    ("given", "speed"), [("1", 1), (10, 10), ("0.5", 0.5), ("real-time", 1), ("max", math.inf)]
)
def test_speeds(given: object, speed: float) -> None:
    """Numbers above 0, real-time and max are speeds."""
    assert load_settings(None, {"replay": {"speed": given}}).replay.speed == speed


@pytest.mark.parametrize("given", ["0", "-1", "inf", "nan", "fast", "", True])
def test_invalid_speeds(given: object) -> None:
    """Other values are refused, and the error names the key."""
    with pytest.raises(SettingsError, match=r"replay\.speed"):
        load_settings(None, {"replay": {"speed": given}})


def test_every_short_name_is_a_key() -> None:
    """Every short name stands for an existing key."""
    keys = known_keys(Settings)
    assert all(f"{section}.{key}" in keys for section, key in SHORT_NAMES.values())


def test_unknown_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A typo in a variable is an error; an empty variable counts as unset."""
    monkeypatch.setenv("VOLSVC_REPLY__SPEED", "")
    load_settings(None)
    monkeypatch.setenv("VOLSVC_REPLY__SPEED", "2")
    with pytest.raises(SettingsError, match="unknown key; did you mean replay"):
        load_settings(None)


def test_shipped_file_names_every_key() -> None:
    """config.toml is valid and names every key."""
    path = Path(__file__).parents[3] / "config.toml"
    load_settings(path)
    text = path.read_text().lower()
    for key in known_keys(Settings):
        assert key.rsplit(".", 1)[-1] in text, f"config.toml does not mention {key}"


def test_secrets_stay_hidden() -> None:
    """A password does not appear in a representation of the settings."""
    overrides = {"kafka": {"security": {"password": "hunter2"}}}
    settings = load_settings(None, overrides)
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in settings.model_dump_json()


def test_heartbeats_fit_into_the_session() -> None:
    """A session needs at least two heartbeats; the error names both keys."""
    kafka = {"session_timeout_ms": 2_000, "heartbeat_interval_ms": 1_500}
    with pytest.raises(SettingsError, match=r"heartbeat_interval_ms = 1500: .*half.*2000"):
        load_settings(None, {"kafka": kafka})
