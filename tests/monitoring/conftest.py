"""A daemon in this process that has replayed a recording."""

from __future__ import annotations

from tests.web.conftest import minutes, service

__all__ = ["minutes", "service"]
