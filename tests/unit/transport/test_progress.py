"""Tests of the detection of stalled Kafka clients."""

from __future__ import annotations

import asyncio

import pytest

from volsvc.domain import BusUnavailableError
from volsvc.transport.kafka.progress import StallDetector


async def test_a_stall_is_told_from_idleness() -> None:
    """The detector raises for a client that makes no progress, and not for an idle one."""
    stall_detector = StallDetector(0.0)
    stall_detector.progressed()
    stall_detector.stalled("records wait")
    stall_detector.progressed()
    stall_detector.stalled("records wait")
    await asyncio.sleep(0.001)
    with pytest.raises(BusUnavailableError, match="records wait"):
        stall_detector.stalled("records wait")
