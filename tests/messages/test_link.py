from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laraq.errors import PayloadError, UnsupportedPayloadError
from laraq.messages.link import Link
from laraq.messages.payload import VERSION, Payload
from tests.messages.test_payload import payloads

links = st.builds(
    Link, payloads, delay=st.floats(0, 2**40), claims=st.booleans(), takes_result=st.booleans(), joins=st.booleans()
)


@given(links)
def test_a_link_survives_json(link: Link) -> None:
    again = Link.from_dict(json.loads(json.dumps(link.to_dict())))
    assert again == link
    assert again.payload.carrier == link.payload.carrier


def test_a_plain_link_is_its_payload_alone() -> None:
    payload = Payload("1", "shop.Ship", {"n": 1})
    assert Link(payload).to_dict() == payload.to_dict()
    assert Link.from_dict(payload.to_dict()) == Link(payload)


def test_a_changed_link_keeps_what_is_its_own() -> None:
    link = Link(Payload("1", "shop.Ship"), delay=5, claims=True, joins=True)
    assert link.with_(queue="q", once=1) == Link(Payload("1", "shop.Ship", queue="q", once=1), 5, True, joins=True)
    assert link.id == link.with_(queue="q").id == "1"


def test_a_link_of_a_newer_version_or_of_none_is_refused() -> None:
    with pytest.raises(UnsupportedPayloadError):
        Link.from_dict({"id": "1", "job": "shop.Ship", "laraq": {"v": VERSION + 1}})
    with pytest.raises(PayloadError):
        Link.from_dict({"id": "1", "job": "shop.Ship", "laraq": {}})
