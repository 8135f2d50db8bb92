from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laraq.errors import PayloadError, UnsupportedPayloadError
from laraq.messages.payload import VERSION, Payload

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=3,
)
maps = st.dictionaries(st.text(), values, max_size=3)
payloads = st.builds(
    Payload,
    id=st.uuids().map(str),
    job=st.text(min_size=1),
    fields=maps,
    args=st.lists(values, max_size=3).map(tuple),
    queue=st.none() | st.text(min_size=1),
    connection=st.none() | st.text(min_size=1),
    attempts=st.integers(0, 100),
    exceptions=st.integers(0, 100),
    retried=st.integers(0, 100),
    returns=st.integers(0, 100),
    options=maps,
    retry_until=st.none() | st.floats(1, 2**40),
    created_at=st.none() | st.floats(1, 2**40),
    context=maps,
    tags=st.lists(st.text(), max_size=3).map(tuple),
    batch_id=st.none() | st.text(min_size=1),
    event=st.none() | st.text(min_size=1),
    chain=maps,
    once=st.integers(0, 1),
    waits=st.integers(0, 1),
    counts=st.sampled_from([{}, {"total": 3, "done": 1}]),
    unique=maps,
    parked=st.dictionaries(st.text(), st.integers(1, 2**53), max_size=3),
    through=st.lists(maps, max_size=2).map(tuple),
    last_error=st.none() | st.text(min_size=1),
    carrier=maps,
)


@given(payloads)
def test_a_payload_survives_json(payload: Payload) -> None:
    again = Payload.from_dict(json.loads(json.dumps(payload.to_dict())))
    assert again == payload
    assert again.carrier == payload.carrier


@given(payloads)
def test_a_payload_survives_the_header_alone(payload: Payload) -> None:
    header = json.loads(json.dumps(payload.to_header()))
    assert Payload.from_header(payload.id, payload.job, payload.fields, payload.args, header) == payload


def test_a_fresh_payload_needs_no_header_but_its_version() -> None:
    assert Payload("1", "shop.Ship").to_header() == {"v": VERSION}


def test_a_strangers_message_gets_the_defaults() -> None:
    assert Payload.from_header("1", "shop.Ship", {"a": 1}, (2,)) == Payload("1", "shop.Ship", {"a": 1}, (2,))


def test_a_retry_until_at_the_epoch_is_kept() -> None:
    payload = Payload("1", "shop.Ship", retry_until=0.0)
    assert Payload.from_dict(payload.to_dict()).retry_until == 0.0


def test_a_newer_version_is_refused_with_both_numbers() -> None:
    with pytest.raises(UnsupportedPayloadError, match=rf"{VERSION + 1} .*{VERSION} .*upgrade"):
        Payload.from_header("1", "shop.Ship", {}, header={"v": VERSION + 1})


@pytest.mark.parametrize("header", [{}, {"v": None}, {"v": "1"}, {"v": 1.0}])
def test_a_header_without_a_version_is_refused(header: dict[str, Any]) -> None:
    with pytest.raises(PayloadError):
        Payload.from_header("1", "shop.Ship", {}, header=header)


@pytest.mark.parametrize("header", ["text", 5, [], [["v", 1]]])
def test_a_header_that_is_no_mapping_is_refused(header: Any) -> None:
    with pytest.raises(PayloadError, match="not a mapping"):
        Payload.from_header("1", "shop.Ship", {}, header=header)


@pytest.mark.parametrize(
    "wrong",
    [
        {"tags": 5},
        {"attempts": "many"},
        {"exceptions": None},
        {"retried": "x"},
        {"options": ["tries"]},
        {"context": "text"},
        {"retry_until": "tomorrow"},
        {"queue": 5},
        {"once": True},
        {"once": "1"},
        {"event": 1},
        {"chain": []},
        {"batch_id": {}},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_header_with_a_value_of_the_wrong_type_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(PayloadError, match=next(iter(wrong))):
        Payload.from_header("1", "shop.Ship", {}, header={"v": VERSION, **wrong})


def test_a_job_of_no_chain_or_batch_says_nothing_of_them() -> None:
    assert Payload("1", "shop.Ship", event=None, once=0, chain={}).to_header() == {"v": VERSION}


def test_a_callback_says_its_event_and_that_it_starts_once() -> None:
    callback = Payload("1", "shop.Ship", batch_id="b", event="then", once=1)
    assert callback.to_header() == {"v": VERSION, "batch_id": "b", "event": "then", "once": 1}


def test_an_unknown_part_of_a_header_is_ignored() -> None:
    assert Payload.from_header("1", "shop.Ship", {}, header={"v": VERSION, "colour": "red"}) == Payload(
        "1", "shop.Ship"
    )


def test_every_retry_is_a_life_of_its_own_in_the_journal() -> None:
    payload = Payload("1", "shop.Ship")
    lives = [payload, payload.with_(retried=1), payload.with_(retried=2)]
    assert len({life.run_key for life in lives}) == 3


def test_a_payload_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Payload("1", "shop.Ship").attempts = 3  # type: ignore[misc] # that is the point
