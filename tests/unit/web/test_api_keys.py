"""API keys: what a key file says, what is refused, and what a new key looks like."""

from __future__ import annotations

import hashlib
import re
import stat
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.full_disk import files_end_at
from volsvc.config.http import SCOPES, AuthSettings, KeyFile, KeySettings, Scope
from volsvc.config.settings import SettingsError
from volsvc.web.auth.api_keys import (
    MAX_KEY_LENGTH,
    ApiKey,
    Keyring,
    add_to_file,
    new_key,
    read_keys,
)


def digest_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def entry(name: str, key: str, **more: object) -> KeySettings:
    fields = {"name": name, "sha256": digest_of(key), "scopes": ("read",), **more}
    return KeySettings.model_validate(fields)


def refusal(call: Callable[[], object]) -> str:
    """Return the text of the SettingsError that a call raises."""
    with pytest.raises(SettingsError) as caught:
        call()
    return str(caught.value)


def test_a_key_has_expired_at_its_last_moment() -> None:
    """The moment of expiry itself is too late; a key without one never expires."""
    for expires_s, moments in ((100.0, (False, True, True)), (None, (False, False, False))):
        key = ApiKey("a", b"", frozenset(), expires_s, 0)
        assert tuple(key.expired(now_s) for now_s in (99.5, 100.0, 100.5)) == moments


def test_keys_of_the_settings_and_of_the_file_are_both_read(tmp_path: Path) -> None:
    """All fields are read; a key without a rate has that of the section, and 0 is no limit."""
    file = tmp_path / "keys.toml"
    file.write_text(
        f'[[keys]]\nname = "c"\nsha256 = "{digest_of("3")}"\nscopes = ["predict", "admin"]\n'
        "expires = 2026-01-01T00:00:00Z\n"
    )
    keys = (entry("a", "1", rate_per_minute=7), entry("b", "2", rate_per_minute=0))
    settings = AuthSettings(keys=keys, keys_file=file, rate_per_minute=30)
    read: frozenset[Scope] = frozenset(("read",))
    both: frozenset[Scope] = frozenset(("predict", "admin"))
    assert read_keys(settings) == (
        ApiKey("a", hashlib.sha256(b"1").digest(), read, None, 7),
        ApiKey("b", hashlib.sha256(b"2").digest(), read, None, 0),
        ApiKey("c", hashlib.sha256(b"3").digest(), both, 1_767_225_600.0, 30),
    )
    assert Keyring(settings).names == ("a", "b", "c")


def test_without_keys_anyone_may_do_everything_at_the_rate_of_the_section() -> None:
    """The caller of an open service has every scope, no expiry, and the section's quota."""
    keyring = Keyring(AuthSettings(rate_per_minute=5))
    assert keyring.open
    assert keyring.anyone == ApiKey("anyone", b"", frozenset(SCOPES), None, 5)
    keyring.replace(AuthSettings(rate_per_minute=9))
    assert keyring.anyone.rate_per_minute == 9
    keyring.replace(AuthSettings(keys=(entry("a", "1"),)))
    assert not keyring.open


def test_the_last_key_cannot_be_taken_away() -> None:
    """Settings without keys are refused by a service that had some, which keeps those."""
    keyring = Keyring(AuthSettings(keys=(entry("a", "1"),)))
    text = refusal(lambda: keyring.replace(AuthSettings()))
    assert re.match(r"auth\.keys: no key is left; restart to serve without keys$", text)
    assert keyring.names == ("a",)


def test_a_key_is_found_by_its_whole_text() -> None:
    """The longest key allowed is found; a longer one, and text that is no Unicode, is unknown."""
    longest, longer = "x" * MAX_KEY_LENGTH, "x" * (MAX_KEY_LENGTH + 1)
    keyring = Keyring(AuthSettings(keys=(entry("a", longest), entry("b", longer))))
    found = keyring.find(longest)
    assert found is not None
    assert found.name == "a"
    for unknown in (longer, longest[:-1], "", "\udcff"):
        assert keyring.find(unknown) is None


def test_a_name_may_occur_once() -> None:
    """Two keys of one name would share a quota and a name in logs."""
    settings = AuthSettings(keys=(entry("twin", "1"), entry("a", "2"), entry("twin", "3")))
    assert "'twin'" in refusal(lambda: read_keys(settings))


def test_what_is_wrong_with_a_key_file_is_said_without_its_keys(tmp_path: Path) -> None:
    """The error names the file, the place in it, and what to do."""
    file = tmp_path / "keys.toml"
    settings = AuthSettings(keys_file=file)

    def text() -> str:
        found = refusal(lambda: read_keys(settings))
        start = f"auth.keys_file = '{file}': "
        assert found.startswith(start)
        return found.removeprefix(start)

    assert text() == f"no such file; make it with `volsvc keys new --file {file}`"
    file.write_text('[[keys]]\nname = "a"\nsha256 = "secret"\nscopes = ["read"]\n')
    digits = "must be a SHA-256 in 64 lower-case hex digits, not the key itself"
    assert text() == f"keys.0.sha256: {digits}"
    file.write_text("[[keys]\n")
    assert text().startswith("cannot be read: ")
    file.write_bytes(b"\xff")
    assert text().startswith("cannot be read: ")


def test_a_new_key_and_its_entry() -> None:
    """A key has 256 random bits behind its prefix; the entry has its hash, name and scopes."""
    key, text = new_key("some.name", ("read", "admin"))
    assert re.fullmatch(r"vsk_[\w-]{43}", key)
    assert text == (
        f'[[keys]]\nname = "some.name"\nsha256 = "{digest_of(key)}"\nscopes = ["read", "admin"]\n'
    )
    assert new_key("some.name", ("read",))[0] != key


def test_a_new_key_expires_after_its_days() -> None:
    """The expiry is the moment so many days from now, in UTC and whole seconds."""
    before_s = time.time() + 1_000 * 86_400
    _, text = new_key("a", ("read",), 1_000)
    (read,) = KeyFile.model_validate(tomllib.loads(text)).keys
    assert read.expires is not None
    assert int(before_s) <= read.expires.timestamp() <= time.time() + 1_000 * 86_400


@pytest.mark.parametrize(
    ("name", "scopes", "field", "given"),
    [("a b", ("read",), "name", "a b"), ("a", ("read", "rule"), "scopes", "rule")],
)
def test_a_new_key_needs_a_valid_name_and_valid_scopes(
    name: str, scopes: tuple[str, ...], field: str, given: str
) -> None:
    """The error names the option, what it must be, and what was given."""
    text = refusal(lambda: new_key(name, scopes))
    assert re.fullmatch(rf"--{field}: \S.+, not '{given}'", text)


def test_a_key_file_grows_by_whole_entries(tmp_path: Path) -> None:
    """Entries are a line apart, whatever the file ended with; only the owner may read it."""
    file = tmp_path / "keys.toml"
    (_, first), (_, second), (_, third) = (new_key(name, ("read",)) for name in "abc")
    add_to_file(file, first)
    assert file.read_text() == first
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    add_to_file(file, second)
    assert file.read_text() == f"{first}\n{second}"
    file.write_text(f"{first}\n{second}\n")
    add_to_file(file, third)
    assert file.read_text() == f"{first}\n{second}\n{third}"
    assert Keyring(AuthSettings(keys_file=file)).names == ("a", "b", "c")


def test_a_key_file_is_not_spoilt(tmp_path: Path) -> None:
    """A name that is taken, and a file that is none of keys, are refused and left as they are."""
    _, text = new_key("a", ("read",))
    taken, other, folder = tmp_path / "keys.toml", tmp_path / "other.toml", tmp_path / "none"
    taken.write_text(text)
    problem = refusal(lambda: add_to_file(taken, new_key("a", ("admin",))[1]))
    assert re.match(rf"--name: {re.escape(str(taken))} already has a key of this name", problem)
    assert taken.read_text() == text
    for content in (b"[service]\n", b"[[keys]\n", b"\xff"):
        other.write_bytes(content)
        problem = refusal(lambda: add_to_file(other, text))
        assert problem == f"--file {other}: is not a valid key file"
        assert other.read_bytes() == content
    for nowhere in (folder / "keys.toml", tmp_path):
        problem = refusal(lambda path=nowhere: add_to_file(path, text))  # type: ignore[misc]
        assert re.match(rf"--file {re.escape(str(nowhere))}: cannot be \w+: \w+", problem)


def test_a_full_disk_costs_no_key(tmp_path: Path) -> None:
    """The file keeps its keys and permissions when it cannot grow, and when it can."""
    file = tmp_path / "keys.toml"
    add_to_file(file, new_key("a", ("read",))[1])
    file.chmod(0o640)
    text = file.read_text()
    with files_end_at(len(text) + 10):
        problem = refusal(lambda: add_to_file(file, new_key("b", ("read",))[1]))
    assert problem == f"--file {file}: cannot be written: File too large"
    assert (file.read_text(), list(tmp_path.iterdir())) == (text, [file])
    add_to_file(file, new_key("b", ("read",))[1])
    assert Keyring(AuthSettings(keys_file=file)).names == ("a", "b")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
