"""Digests of artefacts: a file is read under its own digest alone, to the last bit and digit."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest

from volsvc.models import PACKAGED, ArtefactError, packaged, read_artefact

DIGEST = hashlib.sha256(PACKAGED.read_bytes()).hexdigest()


def test_the_digest_is_that_of_the_whole_file(tmp_path: Path) -> None:
    """A file that differs in a byte nobody reads is the same model under another digest."""
    assert packaged().model.digest == DIGEST
    path = tmp_path / "m.npz"
    # A zip's comment: its length stands in the last two bytes of the file.
    data = PACKAGED.read_bytes()[:-2] + b"\x01\x00 "
    path.write_bytes(data)
    assert read_artefact(path).model.digest == hashlib.sha256(data).hexdigest() != DIGEST
    with pytest.raises(ArtefactError, match=f"digest .* is not {DIGEST[:12]}"):
        read_artefact(path, DIGEST)


@pytest.mark.parametrize("at", [0, 11, 12, 31, 63])
def test_every_digit_of_a_digest_counts(at: int) -> None:
    """A digest that differs in one digit is refused; so are a part of it and none."""
    other = "0" if DIGEST[at] != "0" else "1"
    for digest in (DIGEST[:at] + other + DIGEST[at + 1 :], DIGEST[:at]):
        with pytest.raises(ArtefactError, match="digest"):
            read_artefact(PACKAGED, digest)


def test_a_changed_bit_is_refused(tmp_path: Path) -> None:
    """Any bit of a file that changes is found before the file is opened."""
    rng, path, data = random.Random(3), tmp_path / "m.npz", PACKAGED.read_bytes()
    for at in (0, len(data) - 1, *rng.sample(range(len(data)), 20)):
        changed = bytearray(data)
        changed[at] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        with pytest.raises(ArtefactError, match="digest"):
            read_artefact(path, DIGEST)
