"""credit(): how many jobs may be reserved now."""

from __future__ import annotations

#: Most jobs reserved in one step: bounds the latency of a step and what a dying worker holds.
BATCH = 64

#: Seconds without a finished job after which a single free slot is filled on its own.
LINGER = 0.005


def credit(prefetch: int, outstanding: int, *, lately: bool) -> int:
    """How many more jobs to reserve, given how many are delivered and not yet settled.

    Slots are refilled in batches: once half of the prefetch count is free, or once nothing was settled `lately`,
    which is within the last `LINGER` seconds, so that a free slot beside long jobs does not stay empty.
    `prefetch` 0 means unlimited, as in AMQP.
    """
    if prefetch <= 0:
        return BATCH
    room = prefetch - outstanding
    if room <= 0:
        return 0
    if outstanding * 2 > prefetch and lately:
        return 0
    return min(room, BATCH)
