"""Digest chains for tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.unit.features.records import started
from volsvc.features import ClosedWindow, DigestChain
from volsvc.features.kernels import record
from volsvc.features.kernels.record import DIGEST, STATE


class Chain(DigestChain):
    """A chain in a row of an array that has others beside it."""

    def __init__(self, digest: Any = None) -> None:
        """Start with a record of DIGEST, a new one by default."""
        self.digests = np.zeros(3, DIGEST)
        new = started(STATE, record.start).learnt.digest
        self.digests[1] = new if digest is None else digest
        super().__init__(self.digests, 1)

    def restored(self) -> Chain:
        """Return another chain with the same record."""
        return Chain(self.digests[1])

    def close_bar(self, bar: Any) -> ClosedWindow:
        """Add a completed minute (BAR)."""
        return self.close(int(bar.minute), bar.tobytes())

    @property
    def head(self) -> str:
        """The head after the newest link."""
        assert not self.digests[0].tobytes().strip(b"\0"), "another chain was written to"
        assert not self.digests[2].tobytes().strip(b"\0"), "another chain was written to"
        return str(self.digests[1].head.tobytes().hex())
