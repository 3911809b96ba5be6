"""A crash in the middle of a write to disk leaves the old file or the new one."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from tests.crash import Crash, crash
from tests.reading import parsed
from volsvc.domain import NS, SourceRow, Tick
from volsvc.failpoints import Point, armed
from volsvc.models import Baseline, Model
from volsvc.serving.artefact_cache import ModelCache
from volsvc.serving.audit_log import AuditLog, verify
from volsvc.sources.recorder import Recorder, RotationLimits

START_NS = 1_767_571_200 * NS


def entries_until_crash(folder: Path, point: Point, after: int) -> int:
    """Write entries until the point is reached after so many times; return their number."""
    audit_log, written = AuditLog(folder), 0
    with suppress(Crash), armed(point, crash, after=after):
        while True:
            audit_log.append(START_NS, {"kind": "swap"})
            written += 1
    return written


@pytest.mark.parametrize("point", ["audit_log_opened", "audit_log_rotated"])
@pytest.mark.parametrize("after", range(4))
def test_an_audit_log_continues(
    point: Point, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a crash in the write of an entry, also a file's first, the chain is whole."""
    # Two entries fill a file.
    monkeypatch.setattr("volsvc.serving.audit_log.MAX_BYTES", 500)
    written = entries_until_crash(tmp_path, point, after)
    audit_log = AuditLog(tmp_path)
    assert audit_log.note == ""
    audit_log.append(START_NS, {"kind": "start"})
    assert verify(tmp_path) == (1, written + 1)


def cached(cache: ModelCache, version: str) -> Model:
    """Return a model whose artefact is in a cache."""
    model = Baseline()
    with cache.incoming() as folder:
        path = folder / "new.npz"
        path.write_bytes(version.encode())
        model.version, model.digest = version, cache.keep(path).stem
    return model


def test_the_last_good_model_stays(tmp_path: Path) -> None:
    """After a crash in the write of the next one, the record is that of the model before."""
    cache = ModelCache(tmp_path, "uri", "name")
    first, second = cached(cache, "1"), cached(cache, "2")
    cache.remember(first, "1")
    with pytest.raises(Crash), armed("file_written", crash):
        cache.remember(second, "2")
    restarted = ModelCache(tmp_path, "uri", "name")
    note = restarted.last_good()
    assert note is not None
    assert (note.version, note.digest) == ("1", first.digest)
    restarted.remember(second, "2")
    note = restarted.last_good()
    assert note is not None
    assert note.version == "2"


def test_a_parquet_recording_keeps_its_rows(tmp_path: Path) -> None:
    """After a crash in the write of a batch, the file holds the batches before it."""
    ticks = [Tick("BTC-USD", START_NS + i * NS, 100.0 + i, source="parquet") for i in range(30)]
    rows = [SourceRow(i, tick, tick.time_ns) for i, tick in enumerate(ticks)]
    path = tmp_path / "ticks.parquet"
    recorder = Recorder(path, RotationLimits())
    recorder.write(rows[:10])
    recorder.write(rows[10:20])
    with pytest.raises(Crash), armed("file_written", crash):
        recorder.write(rows[20:])
    assert parsed(path, symbol="BTC-USD") == ticks[:20]
