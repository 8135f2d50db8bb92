"""fate(): what happens to an unsettled delivery when its channel closes."""

from __future__ import annotations

from enum import Enum, auto


class Place(Enum):
    """Where a delivery is, by its worker's records."""

    #: Not in the pool, and it will never be: Celery drops it.
    DROPPED = auto()
    #: In the pool, or finished there: its end is reported, and the delivery is settled then.
    REPORTS = auto()
    #: Its end will not be reported, or nothing is known about it.
    UNSEEN = auto()


class Fate(Enum):
    """What the transport does with the delivery."""

    #: Its lease is renewed until it is settled.
    KEPT = auto()
    #: It is released; its attempt is used.
    USED = auto()
    #: It is released as if it had never been taken.
    UNUSED = auto()


def fate(place: Place, *, begun: bool, ending: bool) -> Fate:
    """`begun`: whether a run of it is known to have begun. `ending`: whether the worker is ending, so that no delivery
    is settled any more.

    Only a delivery that verifiably has not begun, and will not begin, is released as unused: the next worker treats it
    as new, and does not read the run journal.
    """
    if place is Place.REPORTS and not ending:
        return Fate.KEPT
    if place is Place.DROPPED and not begun:
        return Fate.UNUSED
    return Fate.USED
