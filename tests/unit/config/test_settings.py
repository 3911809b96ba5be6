"""Sources and checks of settings."""

import math
from pathlib import Path

import pytest

from volsvc.config.settings import SHORT_NAMES, Settings, SettingsError, load_settings


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


@pytest.mark.parametrize("odd", ["1_0", "\uff11\uff10", "1_0.5"])
@pytest.mark.parametrize(
    "key", ["http.port", "http.request_timeout_s", "replay.speed", "features.window_size"]
)
def test_numbers_have_plain_digits(key: str, odd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Underscores and digits of other scripts are refused in a number, and stay in a text."""
    section, name = key.split(".")
    monkeypatch.setenv(f"VOLSVC_{section}__{name}".upper(), odd)
    with pytest.raises(SettingsError, match=f"^{key} = '{odd}': must be a number in plain digits"):
        load_settings(None)
    monkeypatch.delenv(f"VOLSVC_{section}__{name}".upper())
    monkeypatch.setenv("VOLSVC_SOURCE__PATH", odd)
    assert load_settings(None).source.path == odd


@pytest.mark.parametrize("given", ["0", "-1", "inf", "nan", "fast", "", True])
def test_invalid_speeds(given: object) -> None:
    """Other values are refused, and the error names the key."""
    with pytest.raises(SettingsError, match=r"replay\.speed"):
        load_settings(None, {"replay": {"speed": given}})


SHORT_VALUES = {
    "MODEL_VARIANT": "baseline",
    "REPLAY_SPEED": "5.0",
    "WINDOW_SIZE": "77",
    "KAFKA_TOPIC": "another",
    "MLFLOW_TRACKING_URI": "http://127.0.0.1:1",
    "MODEL_NAME": "another",
    "MODEL_VERSION": "3",
    "KAFKA_BOOTSTRAP_SERVERS": "another:9092",
    "DATA_FILE": "ticks.csv",
    "GIT_SHA": "0badf00d",
}


# Names that follow that of the topic of ticks.
FOLLOWERS = ("features_topic", "dead_letter_topic", "outcomes_topic", "minutes_topic", "group_id")


@pytest.mark.parametrize("name", SHORT_NAMES)
def test_every_short_name_sets_its_key(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable with a short name sets its key, and no other but those that follow a topic."""
    monkeypatch.setenv(name, SHORT_VALUES[name])
    found, default = load_settings(None).model_dump(), Settings().model_dump()
    section, key = SHORT_NAMES[name]
    assert str(found[section].pop(key)) == SHORT_VALUES[name] != str(default[section].pop(key))
    for follower in FOLLOWERS if name == "KAFKA_TOPIC" else ():
        assert found[section].pop(follower) != default[section].pop(follower)
    assert found == default


@pytest.mark.parametrize(
    ("topic", "names"),
    [
        ("ticks.raw", ["ticks.features", "ticks.dlq", "ticks.outcomes", "ticks.minutes", "volsvc"]),
        ("X.raw", ["X.features", "X.dlq", "X.outcomes", "X.minutes", "volsvc.X"]),
        (
            "raw.X",
            ["raw.X.features", "raw.X.dlq", "raw.X.outcomes", "raw.X.minutes", "volsvc.raw.X"],
        ),
    ],
)
def test_names_follow_the_topic_of_ticks(topic: str, names: list[str]) -> None:
    """Another topic of ticks has topics and a group of its own; a name that is set is kept."""
    config = Path(__file__).parents[3] / "config.toml"
    for file in (None, config):
        kafka = load_settings(file, {"kafka": {"topic": topic}}).kafka
        assert [getattr(kafka, name) for name in FOLLOWERS] == names
    set_too = {"topic": topic, "group_id": "mine", "outcomes_topic": "o"}
    kafka = load_settings(None, {"kafka": set_too}).kafka
    assert [getattr(kafka, name) for name in FOLLOWERS] == [*names[:2], "o", names[3], "mine"]


def test_topics_have_different_names() -> None:
    """One topic for two kinds of records would mix them; the error names both keys."""
    with pytest.raises(SettingsError, match=r"kafka\.features_topic = 'T': is also kafka\.topic"):
        load_settings(None, {"kafka": {"topic": "T", "features_topic": "T"}})


def test_unknown_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A typo in a variable is an error; an empty variable counts as unset."""
    monkeypatch.setenv("VOLSVC_REPLY__SPEED", "")
    load_settings(None)
    monkeypatch.setenv("VOLSVC_REPLY__SPEED", "2")
    with pytest.raises(SettingsError, match="unknown key; did you mean replay"):
        load_settings(None)


def test_the_shipped_file_sets_the_defaults() -> None:
    """config.toml is valid and changes nothing but the format of the log."""
    shipped = load_settings(Path(__file__).parents[3] / "config.toml").model_dump()
    default = load_settings(None).model_dump()
    formats = [settings["service"].pop("log_format") for settings in (shipped, default)]
    assert formats == ["console", "json"]
    assert shipped == default


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


@pytest.mark.parametrize(
    ("section", "key", "scheme"),
    [
        ("source", "ws_url", "wss"),
        ("source", "rest_url", "https"),
        ("model", "tracking_uri", "http"),
        ("tracing", "endpoint", "http"),
    ],
)
def test_addresses_hold_no_password(section: str, key: str, scheme: str) -> None:
    """Addresses are printed; `@` in a path is none."""
    for address in (f"{scheme}://u:hush@host/x", f"{scheme}://hush@host"):
        with pytest.raises(SettingsError, match=f"{section}.{key}.*no user and password"):
            load_settings(None, {section: {key: address}})
    load_settings(None, {section: {key: f"{scheme}://host/x@y"}})
