"""API keys: made, kept as their SHA-256, and found again in constant time."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
import tomllib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from volsvc.config.http import SCOPES, AuthSettings, KeyFile, KeySettings, Scope
from volsvc.config.settings import SettingsError

# What a key starts with, so that scanners for leaked secrets can know it.
PREFIX = "vsk_"
MAX_KEY_LENGTH = 256


@dataclass(frozen=True, slots=True)
class ApiKey:
    """Who calls: a name for logs and quotas, what it may do, and until when (s since the epoch).

    `rate_per_minute` of 0 means no limit.
    """

    name: str
    digest: bytes
    scopes: frozenset[Scope]
    expires_s: float | None
    rate_per_minute: int

    def expired(self, now_s: float) -> bool:
        """Whether the key's time is over."""
        return self.expires_s is not None and now_s >= self.expires_s


class Keyring:
    """The keys that are accepted now; without any, everybody may do everything."""

    def __init__(self, settings: AuthSettings) -> None:
        """Reads the keys; raises SettingsError when their file cannot be used."""
        self._keys: tuple[ApiKey, ...] = ()
        self._anyone = _anyone(settings)
        self.replace(settings)

    def replace(self, settings: AuthSettings) -> None:
        """Accept the keys of fresh settings from now on; raises SettingsError, then none change.

        The last key cannot go: a slip of the pen would open the service to everybody.
        """
        keys = read_keys(settings)
        if self._keys and not keys:
            raise SettingsError("auth.keys: no key is left; restart to serve without keys")
        self._keys = keys
        self._anyone = _anyone(settings)

    @property
    def open(self) -> bool:
        """Whether no key is needed."""
        return not self._keys

    @property
    def anyone(self) -> ApiKey:
        """The caller without a key where none is needed."""
        return self._anyone

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the keys."""
        return tuple(key.name for key in self._keys)

    def find(self, presented: str) -> ApiKey | None:
        """The key that was presented, expired or not; the time taken tells nothing of the others.

        Digests are compared, each to its end, and all of them: neither where two keys begin to
        differ nor the place in the list shows.
        """
        if len(presented) > MAX_KEY_LENGTH:
            return None
        digest = hashlib.sha256(presented.encode(errors="surrogatepass")).digest()
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found


def read_keys(settings: AuthSettings) -> tuple[ApiKey, ...]:
    """The keys of settings and of the file that they name.

    Raises SettingsError, which shows no key, when the file cannot be used or names are doubled.
    """
    entries = [*settings.keys]
    if settings.keys_file is not None:
        entries += _read_file(settings.keys_file)
    names = [entry.name for entry in entries]
    for name in names:
        if names.count(name) > 1:
            raise SettingsError(f"auth.keys: two keys are named {name!r}; give each its own name")
    return tuple(_key(entry, settings.rate_per_minute) for entry in entries)


def _read_file(path: Path) -> Sequence[KeySettings]:
    try:
        return KeyFile.model_validate(tomllib.loads(path.read_text())).keys
    except FileNotFoundError:
        raise SettingsError(
            f"auth.keys_file = '{path}': no such file; make it with `volsvc keys new --file {path}`"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise SettingsError(f"auth.keys_file = '{path}': {place}: {message}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"auth.keys_file = '{path}': cannot be read: {error}") from None


def _key(entry: KeySettings, default_rate: int) -> ApiKey:
    rate = default_rate if entry.rate_per_minute is None else entry.rate_per_minute
    expires_s = entry.expires.timestamp() if entry.expires is not None else None
    digest = bytes.fromhex(entry.sha256.get_secret_value())
    return ApiKey(entry.name, digest, frozenset(entry.scopes), expires_s, rate)


def _anyone(settings: AuthSettings) -> ApiKey:
    return ApiKey("anyone", b"", frozenset(SCOPES), None, settings.rate_per_minute)


def new_key(
    name: str, scopes: Collection[str], expires_days: float | None = None
) -> tuple[str, str]:
    """A new random key of 256 bits, and its entry for a file of keys, which holds its hash alone.

    Raises SettingsError when name or scopes cannot be used.
    """
    key = PREFIX + secrets.token_urlsafe(32)
    digest = hashlib.sha256(key.encode()).hexdigest()
    try:
        KeySettings.model_validate({"name": name, "sha256": digest, "scopes": tuple(scopes)})
    except ValidationError as error:
        first = error.errors()[0]
        field = first["loc"][0]
        raise SettingsError(f"--{field}: {first['msg']}, not {first['input']!r}") from None
    quoted = ", ".join(f'"{scope}"' for scope in scopes)
    lines = ["[[keys]]", f'name = "{name}"', f'sha256 = "{digest}"', f"scopes = [{quoted}]"]
    if expires_days is not None:
        ends = time.gmtime(time.time() + expires_days * 86_400)
        lines.append(f"expires = {time.strftime('%Y-%m-%dT%H:%M:%SZ', ends)}")
    return key, "\n".join(lines) + "\n"


def add_to_file(path: Path, entry: str) -> None:
    """Append an entry to a file of keys, which only its owner may read.

    Raises SettingsError when that makes no valid file: then nothing is written.
    """
    text = path.read_text() if path.exists() else ""
    if text and not text.endswith("\n\n"):
        text += "\n"
    try:
        entries = KeyFile.model_validate(tomllib.loads(text + entry)).keys
    except (ValidationError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"--file {path}: is no file of keys") from error
    if len({known.name for known in entries}) < len(entries):
        raise SettingsError(f"--name: {path} has a key of this name; give this one its own")
    try:
        path.touch(mode=0o600)
        path.write_text(text + entry)
    except OSError as error:
        raise SettingsError(f"--file {path}: cannot be written: {error.strerror}") from error
