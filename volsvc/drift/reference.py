"""The distributions of inputs and scores at the time of the fit, and of distances from them.

Rows of a market depend on those before them: a day of them holds as much information as a handful
of independent ones, so a plain Kolmogorov-Smirnov test finds drift every day. Here the distribution
of a distance comes from the reference itself: it is cut into blocks as long as the window that is
checked, and each block is compared with the whole. Blocks have the same dependence as windows.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from volsvc.domain import VolsvcError
from volsvc.drift.distance import LEVELS, Array, knots_of, kolmogorov_smirnov, population_stability

FORMAT: Final = 1
MAX_BYTES: Final = 16 * 1024 * 1024
# Rows of the shortest block, and blocks of a length, that a distribution of distances needs.
MIN_LENGTH: Final = 30
MIN_BLOCKS: Final = 40
# Above this quantile the distribution of a distance is taken to be exponential.
TAIL_FROM: Final = 0.7
SAMPLE_ROWS: Final = 500
STATISTICS: Final = ("ks", "psi")


class DriftReferenceError(VolsvcError):
    """A reference that cannot be read, or too few rows to make one from."""


@dataclass(frozen=True)
class Reference:
    """The distribution of each feature, and of the distances of blocks from it.

    `knots` (quantiles) and `shares` (of rows at or below them) have the shape (features,
    len(LEVELS)), NaN where a feature has too few values. `lengths` (lengths,) are the rows of the
    blocks. `tails` (lengths, features, statistics, 2) are the quantile TAIL_FROM of the distances
    and the mean excess above it, of the squared distance for K-S. `constant` marks features with a
    single value. `sample` are some rows, for reports.
    """

    names: tuple[str, ...]
    knots: Array
    shares: Array
    constant: tuple[bool, ...]
    lengths: Array
    tails: Array
    sample: Array
    facts: Mapping[str, Any]

    def tail_at(self, length: float) -> Array | None:
        """Return the tails for blocks of `length` rows, (features, statistics, 2).

        Between the lengths of the table they are linear in ln length; beyond the longest they are
        those of the longest, which are too wide and so on the safe side. None if `length` is below
        the shortest.
        """
        if not len(self.lengths) or length < self.lengths[0]:
            return None
        logs, log = np.log(self.lengths), np.log(min(length, float(self.lengths[-1])))
        high = int(np.clip(np.searchsorted(logs, log), 1, len(logs) - 1)) if len(logs) > 1 else 0
        if high == 0:
            return np.asarray(self.tails[0])
        weight = (log - logs[high - 1]) / (logs[high] - logs[high - 1])
        return np.asarray((1 - weight) * self.tails[high - 1] + weight * self.tails[high])

    def dump(self) -> bytes:
        """Return a zip of plain arrays and a JSON header; equal references give equal bytes."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        meta = {"format": FORMAT, "names": self.names, "constant": self.constant}
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
            _add(file, "meta.json", json.dumps({**meta, "facts": self.facts}, indent=1).encode())
            for name, array in arrays.items():
                data = io.BytesIO()
                # Single precision halves the size, and is exact enough for an estimate.
                np.lib.format.write_array(data, array.astype(np.float32), allow_pickle=False)
                _add(file, f"{name}.npy", data.getvalue())
        return buffer.getvalue()

    @classmethod
    def load(cls, data: bytes) -> Reference:
        """Return the reference that `dump` gave; raises DriftReferenceError for other bytes."""
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as file:
                if sum(info.file_size for info in file.infolist()) > MAX_BYTES:
                    raise DriftReferenceError(f"holds more than {MAX_BYTES} bytes")
                meta = json.loads(file.read("meta.json"))
                if meta["format"] != FORMAT:
                    raise DriftReferenceError(f"has format {meta['format']}, not {FORMAT}")
                arrays = {name: _array(file.read(f"{name}.npy")) for name in _ARRAYS}
            reference = cls(
                names=tuple(meta["names"]),
                constant=tuple(meta["constant"]),
                facts=meta["facts"],
                **arrays,
            )
        except (zipfile.BadZipFile, KeyError, ValueError, TypeError, EOFError) as error:
            raise DriftReferenceError(f"is not a drift reference: {error!r}") from error
        count = len(reference.names)
        if reference.knots.shape != (count, len(LEVELS)) or reference.tails.shape[1:2] != (count,):
            raise DriftReferenceError("is not a drift reference: its arrays do not fit together")
        return reference


_ARRAYS: Final = ("knots", "shares", "lengths", "tails", "sample")


def _add(file: zipfile.ZipFile, name: str, data: bytes) -> None:
    # A ZipInfo of its own has a fixed date.
    info = zipfile.ZipInfo(name)
    info.compress_type = zipfile.ZIP_DEFLATED
    file.writestr(info, data)


def _array(data: bytes) -> Array:
    array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    return np.asarray(array, dtype=np.float64)


def summarise(
    names: Sequence[str], streams: Sequence[Array], facts: Mapping[str, Any] | None = None
) -> Reference:
    """Return the reference of streams of rows (rows, len(names)), each in order of time.

    NaN stands for a value that is not known. Raises DriftReferenceError if there are too few rows.
    """
    whole = np.concatenate(
        [np.empty((0, len(names))), *(np.asarray(stream, dtype=np.float64) for stream in streams)]
    )
    if len(whole) < MIN_LENGTH * MIN_BLOCKS:
        raise DriftReferenceError(
            f"{len(whole)} rows are too few for a reference; it takes {MIN_LENGTH * MIN_BLOCKS}"
        )
    distributions = [_distribution(column) for column in whole.T]
    knots, shares = (np.array(part) for part in zip(*distributions, strict=True))
    lengths = _lengths(streams)
    tails = np.empty((len(lengths), len(names), len(STATISTICS), 2))
    for feature in range(len(names)):
        places = [_places(stream[:, feature], knots[feature]) for stream in streams]
        for row, length in enumerate(lengths):
            tails[row, feature] = _tails(places, length, shares[feature])
    chosen = np.linspace(0, len(whole) - 1, min(len(whole), SAMPLE_ROWS)).astype(np.intp)
    return Reference(
        names=tuple(names),
        knots=knots,
        shares=shares,
        constant=tuple(bool(np.ptp(k) == 0) if not np.isnan(k[0]) else False for k in knots),
        lengths=np.array(lengths, dtype=np.float64),
        tails=tails,
        sample=whole[chosen],
        facts={"rows": len(whole), **(facts or {})},
    )


def _distribution(column: Array) -> tuple[Array, Array]:
    """Return the knots and shares of a column; NaN if it has too few values."""
    known = column[np.isfinite(column)]
    if len(known) < MIN_LENGTH * MIN_BLOCKS:
        nothing = np.full(len(LEVELS), np.nan)
        return nothing, nothing
    return knots_of(known)


def _lengths(streams: Sequence[Array]) -> list[int]:
    """Return lengths of blocks, each 1.5 times the one before, while there are enough blocks."""
    lengths, length = [], float(MIN_LENGTH)
    while sum(len(stream) // round(length) for stream in streams) >= MIN_BLOCKS:
        lengths.append(round(length))
        length *= 1.5
    return lengths


def _places(column: Array, knots: Array) -> NDArray[np.intp]:
    """Return the number of knots below each value, and one place more if it is not known."""
    places = np.searchsorted(knots, column, side="left")
    return np.where(np.isfinite(column), places, len(knots) + 1)


def _tails(streams: Sequence[NDArray[np.intp]], length: int, shares: Array) -> Array:
    """Return the quantile TAIL_FROM over blocks and the mean excess above it: (statistics, 2).

    `streams` are the places of one feature's values.
    """
    width = len(shares) + 2
    counts = []
    for places in streams:
        blocks = len(places) // length
        # One bincount of all blocks: each has `width` cells of its own.
        cells = places[: blocks * length] + np.repeat(np.arange(blocks), length) * width
        counts.append(np.bincount(cells, minlength=blocks * width).reshape(blocks, width))
    # The last cell holds the values that are not known; blocks with few others are left out.
    known = np.concatenate(counts)[:, :-1]
    known = known[known.sum(axis=1) >= length / 2]
    if len(known) < MIN_BLOCKS or np.isnan(shares[0]):
        return np.full((len(STATISTICS), 2), np.nan)
    below = known.cumsum(axis=1)
    found = below[:, :-1] / below[:, -1:]
    # Squared, the K-S distance of independent rows has an exponential tail; PSI has one as it is.
    both = (kolmogorov_smirnov(found, shares) ** 2, population_stability(found, shares))
    return np.array([_tail(values) for values in both])


def _tail(values: Array) -> tuple[float, float]:
    start = float(np.quantile(values, TAIL_FROM))
    beyond = values[values > start] - start
    if not len(beyond):
        return start, 0.0
    # Upper end of a 95 % interval: the mean of few values is uncertain, and the budget has to hold.
    return start, float(beyond.mean() * (1 + 1.64 / np.sqrt(len(beyond))))
