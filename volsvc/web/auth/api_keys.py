"""API keys: created, stored as their SHA-256, and looked up in constant time."""

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
from volsvc.safe_io.disk import replace_file

# A fixed prefix lets scanners for leaked secrets recognise a key.
PREFIX = "vsk_"
MAX_KEY_LENGTH = 256


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A caller: its name in logs and quotas, its scopes, and the key's SHA-256.

    `expires_s` is in seconds since the epoch; a `rate_per_minute` of 0 means no limit.
    """

    name: str
    digest: bytes
    scopes: frozenset[Scope]
    expires_s: float | None
    rate_per_minute: int

    def expired(self, now_s: float) -> bool:
        """Return True if the key has expired."""
        return self.expires_s is not None and now_s >= self.expires_s


class Keyring:
    """The accepted keys; without any, every caller has every scope."""

    def __init__(self, settings: AuthSettings) -> None:
        """Read the keys; raises SettingsError if their file is not valid."""
        self._keys: tuple[ApiKey, ...] = ()
        self.replace(settings)

    def replace(self, settings: AuthSettings) -> None:
        """Replace the keys by those of new settings.

        Raises SettingsError, and changes nothing, if they are not valid or none is left.
        """
        keys = read_keys(settings)
        # An emptied file, by mistake, would open the service to everybody.
        if self._keys and not keys:
            raise SettingsError("auth.keys: no key is left; restart to serve without keys")
        self._keys = keys
        self._anyone = _anyone(settings)

    @property
    def open(self) -> bool:
        """True if no key is needed."""
        return not self._keys

    @property
    def anyone(self) -> ApiKey:
        """The caller to assume where no key is needed."""
        return self._anyone

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the keys."""
        return tuple(key.name for key in self._keys)

    def find(self, presented: str) -> ApiKey | None:
        """Return the key with this text, expired or not; None for an unknown one."""
        if len(presented) > MAX_KEY_LENGTH:
            return None
        digest = hashlib.sha256(presented.encode(errors="surrogatepass")).digest()
        # All digests are compared, each to its end. So the time shows neither where two keys begin
        # to differ nor the position of a key in the list.
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found


def read_keys(settings: AuthSettings) -> tuple[ApiKey, ...]:
    """Return the keys of the settings and of the file that they name.

    Raises SettingsError, whose text shows no key, if the file is not valid or a name occurs twice.
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
    """Return a new random key of 256 bits and its entry for a key file, which has only its hash.

    Raises SettingsError if the name or a scope is not valid.
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
    """Append an entry to a key file; a new file is readable by its owner only.

    Raises SettingsError, and writes nothing, if the result would not be a valid key file.
    """
    try:
        text = path.read_text() if path.exists() else ""
        if text and not text.endswith("\n\n"):
            text += "\n"
        entries = KeyFile.model_validate(tomllib.loads(text + entry)).keys
    except OSError as error:
        raise SettingsError(f"--file {path}: cannot be read: {error.strerror}") from error
    except (ValidationError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"--file {path}: is not a valid key file") from error
    if len({known.name for known in entries}) < len(entries):
        raise SettingsError(f"--name: {path} already has a key of this name; choose another")
    try:
        replace_file(path, (text + entry).encode(), mode=0o600)
    except OSError as error:
        raise SettingsError(f"--file {path}: cannot be written: {error.strerror}") from error
