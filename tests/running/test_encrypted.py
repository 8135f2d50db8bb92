"""Encrypted jobs show their values nowhere, and run only with the key they were sent with."""

from __future__ import annotations

import json
import logging

import pytest
from celery import Celery

from laraq import Job, Laraq
from laraq.errors import TamperedPayloadError
from laraq.messages.delivery import Delivery, Fail, Release
from laraq.messages.payload import CIPHER, Payload
from tests.running.runs import delivery, settled

SECRET = "4111-1111-1111-1111"


class Secretive(Job):
    card: str

    encrypted = True

    def handle(self) -> None:
        raise ValueError("declined")


def test_an_encrypted_job_shows_no_value_anywhere(queue: Laraq, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    arrives = delivery(queue, Secretive(SECRET))
    run = settled(queue, arrives)
    [kept] = queue.failed.all()
    for shown in (repr(run.job), repr(arrives), json.dumps(arrives.payload.to_header()), repr(kept), caplog.text):
        assert SECRET not in shown
    assert run.job.card == SECRET


def test_an_error_that_quotes_a_field_of_an_encrypted_job_is_not_in_the_header_of_its_next_message(
    queue: Laraq,
) -> None:
    class Quotes(Secretive):
        tries = 2

        def handle(self) -> None:
            raise ValueError(f"{self.card} was declined")

    run = queue.runner.run(delivery(queue, Quotes(SECRET)))
    assert isinstance(run.verdict, Release)
    assert SECRET not in json.dumps(run.payload.to_header())


def test_an_encrypted_job_with_broken_fields_shows_no_value_in_its_record(queue: Laraq) -> None:
    settled(queue, Delivery(Payload("1", Secretive.job_name(), {"card": [SECRET]}), 1, "q", "c"))
    [kept] = queue.failed.all()
    assert SECRET not in kept.exception


def test_a_tampered_message_is_failed_at_once_whatever_tries_are_left(queue: Laraq) -> None:
    job = Secretive(SECRET)
    job.tries = 9
    payload = queue.packer.payload(job, "1")
    token = payload.fields[CIPHER]
    run = queue.runner.run(Delivery(payload.with_(fields={CIPHER: f"{token[:-3]}xx="}), 1, "q", "c"))
    assert isinstance(run.verdict, Fail)
    assert isinstance(run.verdict.error, TamperedPayloadError)


def test_an_encrypted_message_fails_on_a_worker_without_keys(queue: Laraq) -> None:
    payload = queue.packer.payload(Secretive(SECRET), "1")
    with Laraq(Celery("u", broker="memory://", set_as_current=False), store="memory://") as other:
        run = other.runner.run(Delivery(payload, 1, "q", "c"))
    assert isinstance(run.verdict, Fail)
    assert "laraq_keys" in str(run.verdict.error)


def test_a_job_that_was_made_encrypted_is_so_in_the_worker(queue: Laraq) -> None:
    class Quotes(Secretive):
        encrypted = False
        tries = 2

        def handle(self) -> None:
            raise ValueError(f"{self.card} was declined")

    job = Quotes(SECRET)
    job.encrypted = True
    run = queue.runner.run(delivery(queue, job))
    assert SECRET not in repr(run.job)
    assert SECRET not in json.dumps(run.payload.to_header())
