"""Settings: config.toml, .env, environment and command line, in rising order of precedence.

Every key is refused when it is unknown, so that a typo is an error and not a silent default.
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
from typing import Annotated, Any, ClassVar, Literal

from dotenv import dotenv_values
from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    PlainSerializer,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
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
from volsvc.config.http import AuthSettings, HttpSettings
from volsvc.config.kafka import KafkaSettings
from volsvc.config.live import LiveSourceSettings
from volsvc.config.watch import DriftSettings, TracingSettings

Role = Literal["producer", "consumer", "api"]
ROLES: tuple[Role, ...] = ("producer", "consumer", "api")

# Environment variables that work without the prefix.
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
    """The configuration cannot be used; the text names each key and its value."""


def _speed(value: object) -> object:
    if value == "max":
        return math.inf
    if value == "real-time":
        return 1.0
    try:
        speed = float(value) if isinstance(value, (str, int, float)) else math.nan
    except ValueError:
        speed = math.nan
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
    git_sha: str = "unknown"


class SourceSettings(Section, LiveSourceSettings):
    """Where ticks come from. An empty path means the built-in generator."""

    kind: Literal["replay", "coinbase", "kraken", "none"] = "replay"
    path: str = ""
    symbols: Texts = ()
    default_symbol: str = ""
    loop: bool = False
    seed: int = 7


class ReplaySettings(Section):
    """How fast recorded ticks are replayed, and in which time."""

    speed: Speed = 1.0
    clock: Literal["auto", "original", "now"] = "auto"


class BusSettings(Section):
    """How ticks travel from the producer to the consumer."""

    transport: Literal["memory", "kafka"] = "memory"
    queue_max_records: PositiveInt = 10_000


class FeatureSettings(Section):
    """The per-symbol window and the bounds on what is kept."""

    window_size: Annotated[int, Field(ge=2, le=1_000_000)] = 50
    history: PositiveInt = 1_000
    max_symbols: PositiveInt = 10_000
    symbol_ttl_s: PositiveFloat = 7 * 86_400.0
    late_tolerance_s: Annotated[float, Field(ge=0)] = 0.0
    future_tolerance_s: PositiveFloat = 60.0
    symbols: Texts = ()
    publish_every_s: Annotated[float, Field(ge=0.1, le=60)] = 1.0


class ModelSettings(Section):
    """Which model serves, and the horizon that a plain request asks for."""

    variant: Literal["baseline", "ml"] = "ml"
    tracking_uri: str = ""
    name: str = Field("volsvc", min_length=1, pattern=r"^[^/:.%'\"]+$")
    import_packaged: bool = True
    horizon_s: PositiveFloat = 60.0
    version: str = Field("", pattern=r"^(latest|[0-9]{0,9})$")
    poll_s: Annotated[float, Field(ge=0.1)] = 30.0
    load_timeout_s: PositiveFloat = 8.0
    time_budget_ms: PositiveFloat = 250.0
    shadow: bool = True
    allowed_pickles: Texts = ()

    @field_validator("version")
    @classmethod
    def _as_number(cls, version: str) -> str:
        return version.lstrip("0") if version.isdigit() else version

    @field_validator("allowed_pickles")
    @classmethod
    def _digests(cls, digests: tuple[str, ...]) -> tuple[str, ...]:
        for digest in digests:
            if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
                raise ValueError(f"{digest!r} is no SHA-256 in 64 lower-case hexadecimal digits")
        return digests

    @field_validator("tracking_uri")
    @classmethod
    def _of_a_known_kind(cls, uri: str) -> str:
        if uri and not uri.startswith(("http://", "https://", "sqlite:///")):
            raise ValueError(
                "must be the http(s):// address of an MLflow server, or sqlite:///file of a local "
                "store; put an MLflow server in front of any other store"
            )
        return uri

    @field_validator("tracking_uri")
    @classmethod
    def _without_password(cls, uri: str) -> str:
        if "@" in uri.partition("://")[2].partition("/")[0]:
            raise ValueError(
                "must hold no user and password; set MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD in the environment"
            )
        return uri


class QualitySettings(Section):
    """How our own forecasts are judged, and when the fitted model is stopped."""

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
    kafka: KafkaSettings = KafkaSettings()
    features: FeatureSettings = FeatureSettings()
    model: ModelSettings = ModelSettings()
    quality: QualitySettings = QualitySettings()
    drift: DriftSettings = DriftSettings()
    tracing: TracingSettings = TracingSettings()
    http: HttpSettings = HttpSettings()
    auth: AuthSettings = AuthSettings()

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Settings:
        roles = set(self.service.roles)
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
        if "api" in roles:
            self._check_server()
        return self

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
    """Whether only this machine can reach a server bound to `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def load_settings(
    config: Path | None, overrides: Mapping[str, Mapping[str, Any]] | None = None
) -> Settings:
    """Settings from the file `config`, `.env`, the environment and `overrides`, the last first.

    Raises SettingsError, which names each offending key, its value and the nearest known key.
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
            # The library's own reader of the environment overlooks unknown names.
            return tuple(InitSettingsSource(settings_cls, dict(layer)) for layer in layers)

    try:
        return Layered()
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(e) for e in error.errors())) from error


def _environment_layers(env: Mapping[str, str]) -> Iterable[Mapping[str, Any]]:
    """The prefixed variables, then the short names, as nested mappings."""
    prefixed: dict[str, Any] = {}
    for name, value in env.items():
        if name.upper().startswith(PREFIX) and value != "":
            place = prefixed
            *sections, key = name[len(PREFIX) :].lower().split("__")
            for section in sections:
                place = place.setdefault(section, {})
            place[key] = value
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
    place = ".".join(str(part) for part in error["loc"])
    if not place:
        return error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return f"{place}: unknown key{_suggest(place)}"
    message = error["msg"].removeprefix("Value error, ")
    # A key or a password that is not accepted must not stand in the log for that.
    secret = place.startswith(("auth.keys", "kafka.security"))
    given = "(hidden)" if secret else repr(error["input"])
    return f"{place} = {given}: {message[:1].lower()}{message[1:]}"


def _suggest(place: str) -> str:
    nearest = difflib.get_close_matches(place, known_keys(Settings), n=1, cutoff=0.5)
    return f"; did you mean {nearest[0]}?" if nearest else ""


def known_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Every key of the configuration, dotted, sections included."""
    keys: list[str] = []
    for name, field in model.model_fields.items():
        keys.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys += known_keys(field.annotation, f"{prefix}{name}.")
    return keys
