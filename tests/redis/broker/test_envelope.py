"""What lies in a list of Redis, opened."""

from __future__ import annotations

import json
from typing import Any

import pytest

from laraq_kombu import Job, Lease
from laraq_redis.broker.envelope import unseal


def opened(payload: str, attempts: int = 1) -> dict[str, Any]:
    return unseal(Job(Lease(7, "q", attempts, 99), payload))


def message(**headers: Any) -> dict[str, Any]:
    return {"body": "AP9i", "headers": headers, "properties": {"delivery_info": {}, "body_encoding": "base64"}}


@pytest.mark.parametrize("text", ["plain", "\ud800", "\U0001f600", "\u2028"])
def test_whatever_json_python_writes_is_read(text: str) -> None:
    found = opened(json.dumps(message(argsrepr=text, big=2**70, ratio=float("inf"))))
    assert found["headers"] == {"argsrepr": text, "big": 2**70, "ratio": float("inf"), "attempts": 1}
    assert found["body"] == b"\x00\xffb"


@pytest.mark.parametrize(("attempts", "told", "redelivered"), [(1, False, False), (2, False, True), (1, True, True)])
def test_who_had_it_before_is_told(attempts: int, told: bool, redelivered: bool) -> None:
    sent = message()
    sent["properties"]["delivery_info"]["redelivered"] = told
    info = opened(json.dumps(sent), attempts)["properties"]["delivery_info"]
    assert info == {"redelivered": redelivered}
