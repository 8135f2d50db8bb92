"""What a queue holds, sealed and opened."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import pytest

from laraq_kombu import Job, Lease, undecodable
from laraq_kombu.envelope import seal, unseal


def message(**headers: Any) -> dict[str, Any]:
    return {"body": "[[], {}, {}]", "headers": headers, "properties": {"delivery_info": {"routing_key": "q"}}}


def received(payload: str | bytes, attempts: int = 1, *, waited: bool = True) -> dict[str, Any]:
    return unseal(Job(Lease(5, "q", attempts, 99), payload), waited=waited)


def test_a_message_comes_back_with_its_lease() -> None:
    back = received(seal("q", message(id="1"), 3, native_delay=True).payload, attempts=2)
    assert back["body"] == "[[], {}, {}]"
    assert back["headers"] == {"id": "1", "attempts": 2}
    assert back["properties"]["delivery_tag"] == "5.2.99"
    assert back["properties"]["delivery_info"] == {"routing_key": "q", "redelivered": True}


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=5)), None])
def test_an_eta_becomes_a_delay_and_is_not_seen_by_the_worker(zone: timezone | None) -> None:
    eta = datetime.now(UTC) + timedelta(seconds=90)
    eta = eta.astimezone(zone) if zone else eta.replace(tzinfo=None)
    posting = seal("q", message(eta=eta.isoformat()), 0, native_delay=True)
    assert posting.delay == pytest.approx(90, abs=1)
    assert received(posting.payload)["headers"]["eta"] is None


def test_an_eta_of_the_past_is_due_now() -> None:
    eta = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    assert seal("q", message(eta=eta), 0, native_delay=True).delay == 0


def test_without_native_delay_the_worker_sees_the_eta() -> None:
    eta = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    posting = seal("q", message(eta=eta), 0, native_delay=False)
    assert posting.delay == 0
    assert received(posting.payload, waited=False)["headers"]["eta"] == eta


def test_headers_that_json_does_not_know_come_back_as_they_were() -> None:
    stamp = uuid4()
    assert received(seal("q", message(stamp=stamp), 0, native_delay=True).payload)["headers"]["stamp"] == stamp


def test_a_body_that_looks_typed_is_left_alone() -> None:
    sent = message()
    sent["body"] = '{"__type__": "datetime", "__value__": "x"}'
    assert received(seal("q", sent, 0, native_delay=True).payload)["body"] == sent["body"]


#: Each of them once ended a worker, or could.
NO_MESSAGES = [
    "",
    "{",
    "[]",
    "null",
    "{}",
    '{"properties": {}, "headers": {}}',
    '"text"',
    '{"properties": {"delivery_info": {}}, "headers": []}',
    '{"properties": {"delivery_info": 5}, "headers": {}}',
    '{"properties": {"delivery_info": {}}, "headers": {"eta": {"__type__": "datetime", "__value__": "x"}}}',
    '{"properties": {"delivery_info": {}, "body_encoding": "rot13"}, "headers": {}, "body": "x"}',
    '{"properties": {"delivery_info": {}, "body_encoding": "base64"}, "headers": {}, "body": "x"}',
    b"\xff\xfe",
    "[" * 100_000,
]


@pytest.mark.parametrize("payload", NO_MESSAGES, ids=range(len(NO_MESSAGES)))
def test_what_is_no_message_is_a_value_error_and_keeps_its_bytes(payload: Any) -> None:
    with pytest.raises(ValueError, match="not a kombu message"):
        received(payload)
    assert undecodable(Job(Lease(5, "q", 1, 99), payload))["body"] == (
        payload.encode() if isinstance(payload, str) else payload
    )


@pytest.mark.parametrize("text", ["plain", "\ud800", "\U0001f600", "\u2028"])
def test_whatever_json_python_writes_is_read(text: str) -> None:
    found = received(json.dumps(message(argsrepr=text, big=2**70, ratio=float("inf"))))
    assert found["headers"] == {"argsrepr": text, "big": 2**70, "ratio": float("inf"), "attempts": 1}


@pytest.mark.parametrize(("attempts", "told", "redelivered"), [(1, False, False), (2, False, True), (1, True, True)])
def test_who_had_it_before_is_told(attempts: int, told: bool, redelivered: bool) -> None:
    sent = message()
    sent["properties"]["delivery_info"] = {"redelivered": told}
    assert received(json.dumps(sent), attempts)["properties"]["delivery_info"] == {"redelivered": redelivered}


def test_bytes_come_back_as_they_were() -> None:
    sent = message()
    sent["body"], sent["properties"]["body_encoding"] = "AP9i", "base64"
    assert received(seal("q", sent, 0, native_delay=True).payload)["body"] == b"\x00\xffb"


def test_a_row_without_message_has_the_same_id_at_each_delivery() -> None:
    first, second, other = (
        undecodable(Job(Lease(id, "q", attempts, at), "{")) for id, attempts, at in ((5, 1, 90), (5, 2, 99), (6, 1, 90))
    )
    assert first["headers"]["id"] == second["headers"]["id"] != other["headers"]["id"]
    assert second["properties"]["delivery_info"]["redelivered"]
