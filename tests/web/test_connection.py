"""Deadlines of a connection, in times that the test gives."""

from __future__ import annotations

from volsvc.web.server.connection import ReadProgress


def test_the_wait_of_a_reader_begins_with_the_first_byte_that_waits() -> None:
    """Bytes that wait for the first time have waited for no time, however late the clock is."""
    progress = ReadProgress()
    assert progress.stalled_s(100_000, now_s=50_000.0) == 0
    assert progress.stalled_s(100_000, now_s=50_003.0) == 3
    assert progress.stalled_s(60_000, now_s=50_004.0) == 0, "it has read some"
    assert progress.stalled_s(0, now_s=50_005.0) == 0
    assert progress.stalled_s(70_000, now_s=50_009.0) == 0, "another answer"
    assert progress.stalled_s(70_000, now_s=50_010.0) == 1
