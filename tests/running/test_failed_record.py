"""What the failed store keeps of a job."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from laraq import Laraq
from laraq.messages.delivery import Crash, Delivery, Fail
from laraq.messages.payload import Payload
from tests.running.jobs import Fails, calls
from tests.running.runs import delivery, settled


def test_the_failed_record_says_all_there_is_to_say(queue: Laraq) -> None:
    before = datetime.now(UTC)
    job = Fails(5).on_queue("orders")
    job.tries = 3
    arrives = delivery(queue, job, 3)
    settled(queue, Delivery(arrives.payload, 3, "orders", "redis"))
    [kept] = queue.failed.all()
    assert (kept.id, kept.connection, kept.queue, kept.job) == (arrives.payload.id, "redis", "orders", Fails.job_name())
    assert (kept.attempts, kept.tags) == (3, ("a", "b"))
    assert before <= kept.failed_at <= datetime.now(UTC)
    assert "Traceback" in kept.exception
    assert "raise ValueError" in kept.exception
    again = Payload.from_dict(json.loads(json.dumps(kept.payload)))
    assert (again.fields, again.options, again.queue) == ({"n": 5}, {"tries": 3}, "orders")


def test_a_broken_message_is_kept_with_its_raw_bytes(queue: Laraq) -> None:
    crash = Crash("broken", "the body is no JSON", raw="/w==")
    run = settled(queue, Delivery(Payload("1", Fails.job_name()), 1, "q", "c", crash))
    assert isinstance(run.verdict, Fail)
    [kept] = queue.failed.all()
    assert kept.payload["raw"] == "/w=="
    assert "no JSON" in kept.exception


def test_a_broken_message_of_an_unknown_class_is_kept_at_once(queue: Laraq) -> None:
    crash = Crash("broken", "the body is no JSON", raw="/w==")
    run = settled(queue, Delivery(Payload("1", "shop.jobs.Unknown"), 1, "q", "c", crash))
    assert isinstance(run.verdict, Fail)
    assert queue.failed.find("1") is not None


def test_without_record_the_failed_store_is_left_alone(queue: Laraq) -> None:
    run = queue.runner.run(delivery(queue, Fails(1)))
    queue.books.settle(run, record=False)
    assert len(calls) == 1
    assert not queue.failed.all()


def test_settling_twice_keeps_one_record(queue: Laraq) -> None:
    run = queue.runner.run(delivery(queue, Fails(1)))
    queue.books.settle(run)
    queue.books.settle(run)
    assert len(queue.failed.all()) == 1
