"""What inputs and scores looked like when the model was fitted, and how much stretches differ.

Rows of a market depend on those before them: a day of them says as much as a handful of independent
ones, so a plain Kolmogorov-Smirnov test calls every day a drift. Here the law of a distance comes
from the reference itself: it is cut into stretches as long as what is judged, and each is compared
with the whole. Whatever dependence there is, stretches of the reference have it too.
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
MOST_BYTES: Final = 16 * 1024 * 1024
LEAST_LENGTH: Final = 30
# Stretches that the law of a distance is read from.
LEAST_STRETCHES: Final = 40
# The part of that law above this quantile is taken for exponential.
TAIL_FROM: Final = 0.7
SAMPLE_ROWS: Final = 500
STATISTICS: Final = ("ks", "psi")


class DriftReferenceError(VolsvcError):
    """A reference that cannot be read, or too little to make one from."""


@dataclass(frozen=True)
class Reference:
    """The law of each feature, and of its distances.

    `knots` and `shares` have the shape (features, len(LEVELS)), NaN where a feature has no law;
    `lengths` (lengths,) are the rows of the stretches, `tails` (lengths, features, statistics, 2)
    the quantile TAIL_FROM of each distance between a stretch and the whole, and the mean by which
    others exceed it; squared for K-S. `constant` tells features that have one value. `sample` is
    some rows, for reports.
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
        """The tails for stretches of so many rows, (features, statistics, 2); None when too short.

        Between the lengths of the table linear in ln length; beyond them those of the longest,
        which are too wide and so on the safe side.
        """
        if not len(self.lengths) or length < self.lengths[0]:
            return None
        logs, at = np.log(self.lengths), np.log(min(length, float(self.lengths[-1])))
        high = int(np.clip(np.searchsorted(logs, at), 1, len(logs) - 1)) if len(logs) > 1 else 0
        if high == 0:
            return np.asarray(self.tails[0])
        weight = (at - logs[high - 1]) / (logs[high] - logs[high - 1])
        return np.asarray((1 - weight) * self.tails[high - 1] + weight * self.tails[high])

    def dump(self) -> bytes:
        """A zip of plain arrays and a JSON header; the same reference gives the same bytes."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        meta = {"format": FORMAT, "names": self.names, "constant": self.constant}
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
            _add(file, "meta.json", json.dumps({**meta, "facts": self.facts}, indent=1).encode())
            for name, array in arrays.items():
                data = io.BytesIO()
                # Half the size, and exact enough for a law that is an estimate.
                np.lib.format.write_array(data, array.astype(np.float32), allow_pickle=False)
                _add(file, f"{name}.npy", data.getvalue())
        return buffer.getvalue()

    @classmethod
    def load(cls, data: bytes) -> Reference:
        """What `dump` gave; raises DriftReferenceError."""
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as file:
                if sum(info.file_size for info in file.infolist()) > MOST_BYTES:
                    raise DriftReferenceError(f"holds more than {MOST_BYTES} bytes")
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
            raise DriftReferenceError(f"is no reference of drift: {error!r}") from error
        count = len(reference.names)
        if reference.knots.shape != (count, len(LEVELS)) or reference.tails.shape[1:2] != (count,):
            raise DriftReferenceError("is no reference of drift: its arrays do not fit together")
        return reference


_ARRAYS: Final = ("knots", "shares", "lengths", "tails", "sample")


def _add(file: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name)
    info.compress_type = zipfile.ZIP_DEFLATED
    file.writestr(info, data)


def _array(data: bytes) -> Array:
    array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    return np.asarray(array, dtype=np.float64)


def summarise(
    names: Sequence[str], streams: Sequence[Array], facts: Mapping[str, Any] | None = None
) -> Reference:
    """A reference from streams of rows of shape (rows, len(names)), each in its order of time.

    NaN stands for a value that is not known. Raises DriftReferenceError for too few rows.
    """
    whole = np.concatenate([np.asarray(stream, dtype=np.float64) for stream in streams])
    if len(whole) < LEAST_LENGTH * LEAST_STRETCHES:
        raise DriftReferenceError(
            f"{len(whole)} rows are too few for a reference; it takes "
            f"{LEAST_LENGTH * LEAST_STRETCHES}"
        )
    laws = [_law(whole[:, at]) for at in range(len(names))]
    knots, shares = (np.array([law[part] for law in laws]) for part in (0, 1))
    lengths = _lengths(streams)
    tails = np.empty((len(lengths), len(names), len(STATISTICS), 2))
    for at in range(len(names)):
        placed = [_places(stream[:, at], knots[at]) for stream in streams]
        for row, length in enumerate(lengths):
            tails[row, at] = _tails(placed, length, shares[at])
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


def _law(column: Array) -> tuple[Array, Array]:
    known = column[np.isfinite(column)]
    if len(known) < LEAST_LENGTH * LEAST_STRETCHES:
        nothing = np.full(len(LEVELS), np.nan)
        return nothing, nothing
    return knots_of(known)


def _lengths(streams: Sequence[Array]) -> list[int]:
    """Lengths of stretches, each 1.5 times the one before, while there are enough of them."""
    lengths, length = [], float(LEAST_LENGTH)
    while sum(len(stream) // round(length) for stream in streams) >= LEAST_STRETCHES:
        lengths.append(round(length))
        length *= 1.5
    return lengths


def _places(column: Array, knots: Array) -> NDArray[np.intp]:
    """Between which knots each value lies; a place beyond the last for what is not known."""
    places = np.searchsorted(knots, column, side="left")
    return np.where(np.isfinite(column), places, len(knots) + 1)


def _tails(placed: Sequence[NDArray[np.intp]], length: int, shares: Array) -> Array:
    """For each statistic the quantile TAIL_FROM over stretches, and the mean excess above it."""
    width = len(shares) + 2
    counts = []
    for places in placed:
        whole = len(places) // length
        cells = places[: whole * length] + np.repeat(np.arange(whole), length) * width
        counts.append(np.bincount(cells, minlength=whole * width).reshape(whole, width))
    known = np.concatenate(counts)[:, :-1]
    known = known[known.sum(axis=1) >= length / 2]
    if len(known) < LEAST_STRETCHES or np.isnan(shares[0]):
        return np.full((len(STATISTICS), 2), np.nan)
    below = known.cumsum(axis=1)
    found = below[:, :-1] / below[:, -1:]
    both = (kolmogorov_smirnov(found, shares) ** 2, population_stability(found, shares))
    return np.array([_tail(values) for values in both])


def _tail(values: Array) -> tuple[float, float]:
    start = float(np.quantile(values, TAIL_FROM))
    beyond = values[values > start] - start
    if not len(beyond):
        return start, 0.0
    # The upper end of a 95 % interval: the mean of a few is uncertain, and the budget has to hold.
    return start, float(beyond.mean() * (1 + 1.64 / np.sqrt(len(beyond))))
