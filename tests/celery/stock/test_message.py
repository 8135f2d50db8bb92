"""What is shown of a message, whoever wrote it."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kombu.compression import compress

from laraq_celery.stock.message import due_at, inspected


def message(body: Any = ([1], {"a": 2}, {}), **headers: Any) -> dict[str, Any]:
    text = body if isinstance(body, str) else json.dumps(body)
    return {
        "headers": {"id": "1", "task": "t", **headers},
        "body": base64.b64encode(text.encode()).decode(),
        "content-type": "application/json",
        "properties": {"body_encoding": "base64"},
    }


def test_the_arguments_are_read() -> None:
    job = inspected("q", (message(), 0, None))
    assert (job.payload["args"], job.payload["kwargs"]) == ([1], {"a": 2})


def test_a_compressed_body_is_read() -> None:
    packed, kind = compress(json.dumps(([], {"a": 2}, {})), "gzip")  # type: ignore[no-untyped-call]  # kombu is untyped
    whole = message(compression=kind)
    whole["body"] = base64.b64encode(packed).decode()
    assert inspected("q", (whole, 0, None)).payload["kwargs"] == {"a": 2}


def test_the_display_name_stands_before_the_class() -> None:
    assert inspected("q", (message(shadow="Import of May"), 0, None)).name == "Import of May"


def test_starts_before_and_reservations_now_are_added() -> None:
    assert inspected("q", (message(laraq={"v": 1, "attempts": 2}), 1, None)).attempts == 3


def test_the_time_of_dispatch_stands_before_that_of_the_broker() -> None:
    assert inspected("q", (message(laraq={"created_at": 5.0}), 0, 9.0)).created_at == datetime.fromtimestamp(5, UTC)
    assert inspected("q", (message(), 0, 9.0)).created_at == datetime.fromtimestamp(9, UTC)


@pytest.mark.parametrize("body", ["", "no json", "[1]", '{"args": []}', "null"])
def test_an_unreadable_body_leaves_the_fields_out(body: str) -> None:
    job = inspected("q", (message(body), 0, None))
    assert (job.name, job.payload["args"], job.payload["kwargs"]) == ("t", [], {})


def test_pickled_arguments_are_never_loaded() -> None:
    whole = {**message(), "content-type": "application/x-python-serialize"}
    assert inspected("q", (whole, 0, None)).payload["kwargs"] == {}


@pytest.mark.parametrize("headers", [None, [], {"laraq": "x"}, {"laraq": {"attempts": "2", "created_at": "x"}}])
def test_headers_of_a_stranger_do_no_harm(headers: Any) -> None:
    job = inspected("q", ({"headers": headers}, 0, None))
    assert (job.id, job.name, job.attempts, job.created_at) == ("", "", 0, None)


def test_an_eta_is_a_moment_in_utc_unless_it_says_otherwise() -> None:
    due = datetime.now(UTC) + timedelta(minutes=1)
    assert due_at(message(eta=due.isoformat())) == pytest.approx(due.timestamp())
    assert due_at(message(eta=due.replace(tzinfo=None).isoformat())) == pytest.approx(due.timestamp())
    for none in (None, "soon", 5):
        assert due_at(message(eta=none)) < time.time()
