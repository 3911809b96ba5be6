"""Settings of the HTTP server and of access to it."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
)
from pydantic_settings import NoDecode

from volsvc.config.base import Section, Texts, split_list

Scope = Literal["read", "predict", "admin"]
# read: published forecasts; predict: forecasts for posted rows; admin: changes of the service.
SCOPES: tuple[Scope, ...] = ("read", "predict", "admin")

_DIGEST_CHARACTERS = frozenset("0123456789abcdef")


def _from_json(value: object) -> object:
    """Parse a table of keys that is JSON, its form in the environment."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            raise ValueError("must be a JSON array of keys") from None
    return value


def _digest(value: SecretStr) -> SecretStr:
    # A key pasted here by mistake would be stored in plain text.
    text = value.get_secret_value()
    if len(text) != 64 or not _DIGEST_CHARACTERS.issuperset(text):
        raise ValueError("must be a SHA-256 in 64 lower-case hex digits, not the key itself")
    return value


def _aware(value: datetime | None) -> datetime | None:
    if value is not None and value.tzinfo is None:
        raise ValueError("must name its time zone, such as Z")
    return value


Scopes = Annotated[tuple[Scope, ...], NoDecode, BeforeValidator(split_list), Field(min_length=1)]


class HttpSettings(Section):
    """Address, limits and deadlines of the embedded HTTP server."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8000
    cert_file: str = ""
    key_file: str = ""
    cors_origins: Texts = ()
    max_body_bytes: PositiveInt = 4 * 1024 * 1024
    max_header_bytes: Annotated[int, Field(ge=1_024)] = 8_192
    max_rows: PositiveInt = 10_000
    max_inflight: PositiveInt = 128
    max_connections: PositiveInt = 8_192
    max_streams: PositiveInt = 2_000
    stream_ring: PositiveInt = 2_048
    header_timeout_s: PositiveFloat = 10.0
    request_timeout_s: PositiveFloat = 10.0
    keepalive_timeout_s: PositiveFloat = 75.0
    stale_after_s: PositiveFloat = 60.0

    @property
    def tls(self) -> bool:
        """True if the server speaks HTTPS."""
        return bool(self.cert_file)


class KeySettings(Section):
    """One API key: its SHA-256, scopes, expiry and quota."""

    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")
    sha256: Annotated[SecretStr, AfterValidator(_digest)]
    scopes: Scopes
    expires: Annotated[datetime | None, AfterValidator(_aware)] = None
    # None for the rate of the section, 0 for no limit.
    rate_per_minute: NonNegativeInt | None = None


class AuthSettings(Section):
    """Access to the service; an address other than loopback needs keys or `insecure`."""

    keys: Annotated[tuple[KeySettings, ...], NoDecode, BeforeValidator(_from_json)] = ()
    keys_file: Path | None = None
    rate_per_minute: NonNegativeInt = 0
    insecure: bool = False

    @property
    def configured(self) -> bool:
        """True if callers need a key."""
        return bool(self.keys) or self.keys_file is not None


class KeyFile(Section):
    """A TOML file of keys, as `[[keys]]` tables."""

    keys: tuple[KeySettings, ...] = Field(min_length=1)
