"""Settings from config.toml, .env, environment and command line, in rising order of precedence.

An unknown key is an error, so that a typo does not leave a silent default.
"""

from __future__ import annotations

import difflib
import ipaddress
import math
import os
import socket
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from dotenv import dotenv_values
from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    PlainSerializer,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from volsvc.config.base import Section, Texts, split_list
from volsvc.config.checkout import running_commit
from volsvc.config.drift import DriftSettings
from volsvc.config.http import AuthSettings, HttpSettings
from volsvc.config.kafka import KafkaSettings
from volsvc.config.live import LIVE_KINDS, LiveSourceSettings, VenueName
from volsvc.config.model import ModelSettings
from volsvc.config.tracing import TracingSettings
from volsvc.config.warmup import WarmupSettings

Role = Literal["producer", "consumer", "api"]
ROLES: tuple[Role, ...] = ("producer", "consumer", "api")

# Environment variables that work without the prefix, by section and key.
SHORT_NAMES: Mapping[str, tuple[str, str]] = {
    "MODEL_VARIANT": ("model", "variant"),
    "REPLAY_SPEED": ("replay", "speed"),
    "WINDOW_SIZE": ("features", "window_size"),
    "KAFKA_TOPIC": ("kafka", "topic"),
    "MLFLOW_TRACKING_URI": ("model", "tracking_uri"),
    "MODEL_NAME": ("model", "name"),
    "MODEL_VERSION": ("model", "version"),
    "KAFKA_BOOTSTRAP_SERVERS": ("kafka", "bootstrap_servers"),
    "DATA_FILE": ("source", "path"),
    "GIT_SHA": ("service", "git_sha"),
}

PREFIX = "VOLSVC_"


class SettingsError(Exception):
    """The configuration is not valid; the text names each key and its value."""


def _speed(value: object) -> object:
    if value == "max":
        return math.inf
    if value == "real-time":
        return 1.0
    try:
        speed = float(value) if isinstance(value, (str, int, float)) else math.nan
    except ValueError:
        speed = math.nan
    # `float` accepts True and "inf"; the one infinite speed is the value that "max" becomes.
    if isinstance(value, bool) or not speed > 0 or (math.isinf(speed) and value is not math.inf):
        raise ValueError("must be a number above 0, 'real-time' or 'max'")
    return speed


def _speed_text(speed: float) -> str | float:
    return "max" if math.isinf(speed) else speed


Speed = Annotated[
    float,
    Field(allow_inf_nan=True),
    BeforeValidator(_speed),
    PlainSerializer(_speed_text),
]


class ServiceSettings(Section):
    """The process as a whole."""

    roles: Annotated[
        tuple[Role, ...], NoDecode, BeforeValidator(split_list), Field(min_length=1)
    ] = ROLES
    instance_id: str = Field(default_factory=socket.gethostname, min_length=1)
    data_dir: Path = Path("var")
    shutdown_timeout_s: PositiveFloat = 10.0
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"
    git_sha: str = Field(default_factory=running_commit)


class SourceSettings(Section, LiveSourceSettings):
    """The source of ticks; an empty path stands for the built-in generator."""

    kind: Literal["replay", VenueName, "none"] = "replay"
    path: str = ""
    symbols: Texts = ()
    default_symbol: str = ""
    columns: Texts = ()
    time_format: str = ""
    loop: bool = False
    seed: int = 7


class ReplaySettings(Section):
    """The speed and the clock of a replay."""

    speed: Speed = 1.0
    clock: Literal["auto", "original", "now"] = "auto"


class BusSettings(Section):
    """The transport of ticks from the producer to the consumer."""

    transport: Literal["memory", "kafka"] = "memory"
    queue_max_records: PositiveInt = 10_000


STORE_FILE: Final = "volsvc.db"


class StoreSettings(Section):
    """The file in which a daemon keeps minutes, and in process its states."""

    enabled: bool = True
    fresh: bool = False
    path: str = ""
    retention_days: PositiveFloat = 90.0
    max_bytes: Annotated[int, Field(ge=1_000_000)] = 10_000_000_000


class FeatureSettings(Section):
    """The window of each symbol, and the bounds on state."""

    window_size: Annotated[int, Field(ge=2, le=1_000_000)] = 50
    history: PositiveInt = 1_000
    max_symbols: PositiveInt = 10_000
    symbol_ttl_s: PositiveFloat = 7 * 86_400.0
    late_tolerance_s: Annotated[float, Field(ge=0)] = 0.0
    future_tolerance_s: PositiveFloat = 60.0
    bad_print_sigmas: Annotated[float, Field(ge=0)] = 15.0
    symbols: Texts = ()
    publish_every_s: Annotated[float, Field(ge=0.1, le=60)] = 1.0


class QualitySettings(Section):
    """The window of live scores, and the limits of the quality guard."""

    window_days: Annotated[int, Field(ge=1, le=90)] = 7
    fallback_ratio: Annotated[float, Field(gt=1)] = 1.2
    least_forecasts: PositiveInt = 240


class Settings(BaseSettings):
    """The whole configuration of a daemon."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        frozen=True, extra="forbid", validate_default=True
    )

    service: ServiceSettings = ServiceSettings()
    source: SourceSettings = SourceSettings()
    replay: ReplaySettings = ReplaySettings()
    bus: BusSettings = BusSettings()
    store: StoreSettings = StoreSettings()
    warmup: WarmupSettings = WarmupSettings()
    kafka: KafkaSettings = KafkaSettings()
    features: FeatureSettings = FeatureSettings()
    model: ModelSettings = ModelSettings()
    quality: QualitySettings = QualitySettings()
    drift: DriftSettings = DriftSettings()
    tracing: TracingSettings = TracingSettings()
    http: HttpSettings = HttpSettings()
    auth: AuthSettings = AuthSettings()

    @property
    def store_file(self) -> Path:
        """The file of the store; a relative `store.path` is one in `service.data_dir`."""
        return self.service.data_dir / (self.store.path or STORE_FILE)

    @model_validator(mode="after")
    def _check_consistency(self) -> Settings:
        roles = set(self.service.roles)
        # An `api` alone is allowed: it answers /predict without ticks.
        apart = {"producer", "consumer"} - roles
        if self.bus.transport == "memory" and len(apart) == 1:
            raise ValueError(
                f"bus.transport = 'memory': joins tasks of one process, but service.roles lacks "
                f"{apart.pop()!r}; add it, or set bus.transport = 'kafka'"
            )
        kafka = self.kafka
        if kafka.heartbeat_interval_ms * 2 > kafka.session_timeout_ms:
            raise ValueError(
                f"kafka.heartbeat_interval_ms = {kafka.heartbeat_interval_ms}: must be at most "
                f"half of kafka.session_timeout_ms = {kafka.session_timeout_ms}, better a third"
            )
        self._check_topics()
        self._check_warmup()
        if "api" in roles:
            self._check_server()
        return self

    def _check_topics(self) -> None:
        names: dict[str, str] = {}
        topics = [key for key in KafkaSettings.model_fields if key.endswith("topic")]
        for key in topics:
            name = getattr(self.kafka, key)
            if name in names:
                raise ValueError(
                    f"kafka.{key} = {name!r}: is also kafka.{names[name]}; give each topic a name "
                    "of its own"
                )
            names[name] = key

    def _check_warmup(self) -> None:
        source, live = self.warmup.source, self.source.kind in LIVE_KINDS
        if source == "venue" and not live:
            raise ValueError("warmup.source = 'venue': source.kind is no venue")
        if source == "file" and (live or not self.warmup.history):
            raise ValueError("warmup.source = 'file': is for a recording with warmup.history")

    def _check_server(self) -> None:
        http, auth = self.http, self.auth
        if not (auth.configured or auth.insecure or is_loopback(http.host)):
            raise ValueError(
                f"http.host = {http.host!r}: is not a loopback address and no keys are "
                "configured; bind 127.0.0.1, make a key with `volsvc keys new`, or set "
                "auth.insecure = true"
            )
        if bool(http.cert_file) != bool(http.key_file):
            lacks = "http.key_file" if http.cert_file else "http.cert_file"
            raise ValueError(f"{lacks} = '': TLS needs both a certificate and its key")


def is_loopback(host: str) -> bool:
    """Return true if only this machine can reach a server bound to `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def load_settings(
    config: Path | None, overrides: Mapping[str, Mapping[str, Any]] | None = None
) -> Settings:
    """Return settings from `overrides`, the environment, `.env` and the file `config`.

    The first source that has a key gives its value. Raises SettingsError, which names each invalid
    key with its value, and the nearest known key for an unknown one.
    """
    dotenv = {k: v for k, v in dotenv_values(".env").items() if v is not None}
    layers: list[Mapping[str, Any]] = [overrides or {}]
    layers += [layer for env in (os.environ, dotenv) for layer in _environment_layers(env)]
    layers.append(_read_toml(config) if config is not None else {})

    class Layered(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            # The library's own reader of the environment ignores unknown names.
            return tuple(InitSettingsSource(settings_cls, dict(layer)) for layer in layers)

    try:
        return Layered()
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(e) for e in error.errors())) from error


def _environment_layers(env: Mapping[str, str]) -> Iterable[Mapping[str, Any]]:
    """Yield the prefixed variables, then the short names, as nested mappings.

    An empty variable counts as unset, because compose files pass unset ones on as empty.
    """
    prefixed: dict[str, Any] = {}
    for name, value in env.items():
        if name.upper().startswith(PREFIX) and value != "":
            table = prefixed
            *sections, key = name[len(PREFIX) :].lower().split("__")
            for section in sections:
                table = table.setdefault(section, {})
            table[key] = value
    yield prefixed
    short: dict[str, Any] = {}
    for name, (section, key) in SHORT_NAMES.items():
        if env.get(name):
            short.setdefault(section, {})[key] = env[name]
    yield short


def _read_toml(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise SettingsError(f"{path}: no such file; name a file with --config") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: is not valid TOML: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from error


def _explain(error: ErrorDetails) -> str:
    """Return an error of pydantic as `section.key = value: reason`."""
    place = ".".join(str(part) for part in error["loc"])
    # Errors of the whole configuration name their keys themselves.
    if not place:
        return error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return f"{place}: unknown key{_suggest(place)}"
    message = error["msg"].removeprefix("Value error, ")
    # A rejected key or password must not appear in the log.
    secret = place.startswith(("auth.keys", "kafka.security"))
    given = "(hidden)" if secret else repr(error["input"])
    return f"{place} = {given}: {message[:1].lower()}{message[1:]}"


def _suggest(place: str) -> str:
    nearest = difflib.get_close_matches(place, known_keys(Settings), n=1, cutoff=0.5)
    return f"; did you mean {nearest[0]}?" if nearest else ""


def known_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Return every key of the configuration, dotted, including sections."""
    keys: list[str] = []
    for name, field in model.model_fields.items():
        keys.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys += known_keys(field.annotation, f"{prefix}{name}.")
    return keys
