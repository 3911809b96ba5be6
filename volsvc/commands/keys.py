"""`volsvc keys`: make API keys."""

from __future__ import annotations

import secrets
from pathlib import Path

from volsvc.commands.arguments import split_names
from volsvc.web.auth.api_keys import add_to_file, new_key


def make_key(scopes: str, name: str, expires_days: float | None, file: Path | None) -> None:
    """Print a new key, and add its hash to `file` if there is one; raises SettingsError.

    `scopes` are comma-separated; without a name the key gets a random one.
    """
    key_name = name or f"key-{secrets.token_hex(3)}"
    key, entry = new_key(key_name, split_names(scopes), expires_days)
    # Stored before it is shown: a key that could not be stored must not be handed out.
    if file is not None:
        add_to_file(file, entry)
    print(f"key: {key}")
    if file is None:
        print(f"\nAdd to the file that auth.keys_file names, then SIGHUP the service:\n\n{entry}")
    else:
        print(f"Its SHA-256 is in {file}; SIGHUP the service to read it.")
