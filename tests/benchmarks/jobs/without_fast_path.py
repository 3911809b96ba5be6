"""The daemon with every request answered by the middleware, to show what the fast path is worth."""

from __future__ import annotations

import sys

from volsvc.cli.main import main
from volsvc.web.server.fast_path import FastPath, KnownHead


def find(self: FastPath, head: bytes) -> KnownHead | None:
    """Know no head."""
    return None


if __name__ == "__main__":
    FastPath.find = find  # type: ignore[method-assign]
    sys.argv[1:] = ["run", "--port", "0"]
    main()
