from __future__ import annotations

import pytest

from laraq_kombu.fate import Fate, Place, fate

DROPPED, REPORTS, UNSEEN = Place.DROPPED, Place.REPORTS, Place.UNSEEN
KEPT, USED, UNUSED = Fate.KEPT, Fate.USED, Fate.UNUSED


@pytest.mark.parametrize(
    ("place", "begun", "ending", "expected"),
    [
        pytest.param(DROPPED, False, False, UNUSED, id="fetched, and the connection is lost"),
        pytest.param(DROPPED, False, True, UNUSED, id="fetched, and the worker ends"),
        pytest.param(DROPPED, True, False, USED, id="its child was lost, and who should settle that is dropped"),
        pytest.param(DROPPED, True, True, USED, id="the same, and the worker ends"),
        pytest.param(REPORTS, False, False, KEPT, id="a thread or process will begin it"),
        pytest.param(REPORTS, True, False, KEPT, id="it runs, or has ended and is acknowledged in a moment"),
        pytest.param(REPORTS, False, True, USED, id="it may have begun, and the worker ends"),
        pytest.param(REPORTS, True, True, USED, id="it is cut off by the end of the worker"),
        pytest.param(UNSEEN, False, False, USED, id="nothing is known of it"),
        pytest.param(UNSEEN, True, False, USED, id="it was cancelled with the connection"),
        pytest.param(UNSEEN, False, True, USED, id="nothing is known of it, and the worker ends"),
        pytest.param(UNSEEN, True, True, USED, id="it was cancelled, and the worker ends"),
    ],
)
def test_what_becomes_of_a_delivery(place: Place, begun: bool, ending: bool, expected: Fate) -> None:
    assert fate(place, begun=begun, ending=ending) is expected


@pytest.mark.parametrize("place", Place)
@pytest.mark.parametrize("ending", [False, True])
def test_what_has_begun_is_never_given_back_as_unused(place: Place, ending: bool) -> None:
    assert fate(place, begun=True, ending=ending) is not UNUSED
