"""fate(): what becomes of a delivery that is not settled when its channel closes."""

from __future__ import annotations

from enum import Enum, auto


class Place(Enum):
    """Where a delivery is, as its worker's books tell."""

    #: Not in the pool, nor will it come there: Celery drops it.
    DROPPED = auto()
    #: In the pool, or through with it: its end is told, and the delivery settled then.
    REPORTS = auto()
    #: Nobody will tell of its end, or nothing is known of it.
    UNSEEN = auto()


class Fate(Enum):
    """What its transport does."""

    #: Its lease is renewed until it is settled.
    KEPT = auto()
    #: It is given back, its attempt used.
    USED = auto()
    #: It is given back as if it had never been taken.
    UNUSED = auto()


def fate(place: Place, *, begun: bool, ending: bool) -> Fate:
    """`begun`: whether some run of it is known to have begun. `ending`: whether the worker has come to its end, so that
    nothing is settled any more.

    Only what verifiably has not begun, and will not, is given back as unused: whoever gets it next takes it for new,
    and does not look into the run journal.
    """
    if place is Place.REPORTS and not ending:
        return Fate.KEPT
    if place is Place.DROPPED and not begun:
        return Fate.UNUSED
    return Fate.USED
