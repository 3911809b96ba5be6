"""Deadlines of a connection, in times that the test gives."""

from __future__ import annotations

import socket

from tests.waiting import until
from volsvc.web.server.read_progress import ReadProgress, acknowledged_bytes


def test_the_wait_of_a_reader_begins_with_the_first_byte_that_waits() -> None:
    """Bytes that wait for the first time have waited for no time, however late the clock is."""
    progress = ReadProgress()
    assert progress.stalled_s(100_000, 0, now_s=50_000.0) == 0
    assert progress.stalled_s(100_000, 0, now_s=50_003.0) == 3
    assert progress.stalled_s(60_000, 0, now_s=50_004.0) == 0, "it has read some"
    assert progress.stalled_s(0, 0, now_s=50_005.0) == 0
    assert progress.stalled_s(70_000, 0, now_s=50_009.0) == 0, "another answer"
    assert progress.stalled_s(70_000, 0, now_s=50_010.0) == 1


def test_what_was_acknowledged_counts_as_read() -> None:
    """A buffer that grows, or that is handed on as a whole, does not hide that the client reads."""
    progress = ReadProgress()
    assert progress.stalled_s(10_000, 5_000, now_s=100.0) == 0
    assert progress.stalled_s(20_000, 6_000, now_s=107.0) == 0
    assert progress.stalled_s(20_000, 6_001, now_s=114.0) == 0
    assert progress.stalled_s(30_000, 6_001, now_s=121.0) == 7
    assert progress.stalled_s(0, 0, now_s=122.0) == 0
    assert progress.stalled_s(30_000, 6_002, now_s=123.0) == 0


class Transport:
    """As much of a transport as is asked for its socket."""

    def __init__(self, connection: socket.socket | None) -> None:
        self._connection = connection

    def get_extra_info(self, name: str) -> socket.socket | None:
        """Return the socket."""
        return self._connection if name == "socket" else None


def acknowledged(connection: socket.socket | None) -> int:
    return acknowledged_bytes(Transport(connection))  # type: ignore[arg-type]


def test_acknowledged_bytes_are_those_of_the_system() -> None:
    """They rise with what the peer takes; 0 where there is no such count."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        accepted, _ = listening.accept()
    with client, accepted:
        before = acknowledged(accepted)
        accepted.sendall(b"x" * 1_000)
        until(lambda: acknowledged(accepted) == before + 1_000, 5, "all bytes are acknowledged")
    assert acknowledged(None) == 0
