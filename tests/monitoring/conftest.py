"""A daemon in this process that has replayed a recording."""

from __future__ import annotations

from tests.web.conftest import service

__all__ = ["service"]
