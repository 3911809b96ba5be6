"""Validation of a symbol's ticks: late ticks, duplicates, gaps, and clocks that are ahead."""

from __future__ import annotations

from typing import Any, Final

from volsvc.compiled import kernel, record_type
from volsvc.domain import NS

# Classification of a tick. Statuses of a batch are an array of these.
NEW: Final = 0
LATE: Final = 1
DUPLICATE: Final = 2
FUTURE: Final = 3

# Silence that counts as a gap, unless the next trade id proves that nothing is missing. In ten
# minutes of a liquid market the longest is about 10 s.
SILENCE_NS: Final = 60 * NS
# Number of ticks whose identities are remembered: far more than a feed repeats after a reconnect.
MAX_RECENT: Final = 64

# Ids are not negative, and other identities are below this.
NO_IDENTITY: Final = -1

# A hole is a gap once so many later ids, or so much event time, have come without what is missing.
# Venues deliver the trades of one match out of order, and parallel producers overtake each other by
# some hundred milliseconds; it is as many ids as are remembered for duplicates.
LATER_IDS: Final = 64
LATER_NS: Final = 10 * NS
# A larger hole is an outage, and a gap at once. This and LATER_IDS bound the memory.
MAX_MISSING: Final = 64
# Holes that may still be filled have an id between them, and all lie within LATER_IDS.
_MAX_HOLES: Final = LATER_IDS // 2 + 2
# Ids of one word of the mask of missing ones.
WORD: Final = 32

# Missing ids, as the bits of a mask: the n-th bit is the id `last - n`. `found_ns` is the time at
# which the hole was found.
_HOLE = record_type([("last", "i8"), ("found_ns", "i8"), ("missing", "i8", (2,))])
# `last_ns` is -1 before the first tick, `last_id` the newest trade id, -1 before the first.
# `recent` are the identities of the newest ticks, in a ring; `gap_ns` the time at which the newest
# gap showed: one in the ids is counted later than that.
TICK_CHECK = record_type(
    [
        ("last_ns", "i8"),
        ("last_id", "i8"),
        ("accepted", "i8"),
        ("duplicates", "i8"),
        ("late", "i8"),
        ("gaps", "i8"),
        ("gap_ns", "i8"),
        ("future", "i8"),
        ("remembered", "i8"),
        ("recent", "i8", (MAX_RECENT,)),
        ("holes", "i8"),
        ("hole", _HOLE, (_MAX_HOLES,)),
    ]
)


@kernel
def start(check: Any) -> None:
    """Make a record of zeros a symbol without ticks."""
    check.last_ns = -1
    check.last_id = -1
    check.recent[:] = NO_IDENTITY


@kernel
def classify(
    check: Any,
    time_ns: int,
    from_ns: int,
    trade_id: int,
    identity: int,
    seen: int,
    quoted: int,
    published_ns: int,
    late_ns: int,
    future_ns: int,
) -> int:
    """Classify a tick, count it, and remember it if it is new.

    Before `from_ns` every tick is late.
    `trade_id` is -1 if there is none. `identity` distinguishes the tick from others, and `seen` is
    not 0 if it is known already. `quoted` is not 0 if the tick has a quote. `published_ns` is the
    timestamp of its record in the log, 0 if it has none; `late_ns` and `future_ns` are the
    tolerances.
    """
    last = check.last_ns
    # Compared with the log and not with the consumer's clock, so that a redelivered tick is
    # classified as before. The newest tick counts too: a replay faster than real time is ahead of
    # the log.
    if published_ns > 0 and time_ns > max(published_ns, last) + future_ns:
        check.future += 1
        return FUTURE
    if seen or _is_recent(check, identity):
        check.duplicates += 1
        return DUPLICATE
    if last >= 0:
        if _follows_gap(check, time_ns, trade_id, quoted):
            check.gaps += 1
            check.gap_ns = time_ns
        if check.holes > 0:
            _give_up_holes(check, max(check.last_id, trade_id), max(last, time_ns))
    if time_ns < from_ns or (last >= 0 and time_ns < last - late_ns):
        check.late += 1
        # Its id has come, although it changes no feature: the next one follows it.
        check.last_id = max(check.last_id, trade_id)
        return LATE
    check.last_id = max(check.last_id, trade_id)
    check.last_ns = max(last, time_ns)
    check.recent[check.remembered % MAX_RECENT] = identity
    check.remembered += 1
    check.accepted += 1
    return NEW


@kernel
def _is_recent(check: Any, identity: int) -> bool:
    # All places are compared, without an early end: that is done many at a time.
    found = 0
    for index in range(MAX_RECENT):
        found |= int(check.recent[index] == identity)
    return found != 0


@kernel
def _follows_gap(check: Any, time_ns: int, trade_id: int, quoted: int) -> bool:
    """Return True if a tick proves a gap; a hole in the ids that it shows may yet be filled."""
    if trade_id >= 0 and check.last_id >= 0:
        more = trade_id - check.last_id
        if more == 1:
            # Nothing is missing between two successive ids, however long the silence.
            return False
        # A ticker channel skips trade ids by design; a trade channel, without quotes, does not.
        if more > 1 and not quoted:
            return _note_hole(check, trade_id, max(check.last_ns, time_ns))
        if more < 0:
            _came(check, trade_id)
    return bool(time_ns - check.last_ns > SILENCE_NS)


@kernel
def _note_hole(check: Any, trade_id: int, time_ns: int) -> bool:
    """Note that no id between the newest and this one has come; True if that is a gap at once."""
    missing = trade_id - check.last_id - 1
    if missing > MAX_MISSING or check.holes == _MAX_HOLES:
        return True
    hole = check.hole[check.holes]
    check.holes += 1
    hole.last = trade_id - 1
    hole.found_ns = time_ns
    hole.missing[0] = (1 << min(missing, WORD)) - 1
    hole.missing[1] = (1 << max(missing - WORD, 0)) - 1
    return False


@kernel
def _came(check: Any, trade_id: int) -> None:
    """Take a late trade out of its hole; a hole without missing ids is none."""
    for index in range(check.holes):
        hole = check.hole[index]
        back = hole.last - trade_id
        if 0 <= back < 2 * WORD:
            word, bit = back // WORD, back % WORD
            if (hole.missing[word] >> bit) & 1:
                hole.missing[word] -= 1 << bit
    kept = 0
    for index in range(check.holes):
        hole = check.hole[index]
        if hole.missing[0] != 0 or hole.missing[1] != 0:
            _keep(check, index, kept)
            kept += 1
    check.holes = kept


@kernel
def _give_up_holes(check: Any, newest_id: int, newest_ns: int) -> None:
    """Count the holes that have become gaps, and forget them."""
    kept = 0
    for index in range(check.holes):
        hole = check.hole[index]
        if newest_id - hole.last >= LATER_IDS or newest_ns - hole.found_ns > LATER_NS:
            check.gaps += 1
            check.gap_ns = hole.found_ns
        else:
            _keep(check, index, kept)
            kept += 1
    check.holes = kept


@kernel
def _keep(check: Any, index: int, place: int) -> None:
    kept, hole = check.hole[place], check.hole[index]
    kept.last = hole.last
    kept.found_ns = hole.found_ns
    kept.missing[:] = hole.missing
