"""What an encrypted job locks and counts by is in no store and no message; encrypted jobs share it still."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from cryptography.fernet import Fernet

from laraq import Job, Laraq
from laraq.limits.limits import Limit, RateLimiter
from laraq.messages.delivery import Delivery, Done, Release, Verdict
from laraq.middleware import RateLimited, ThrottlesExceptions, WithoutOverlapping

SECRET = "4111-1111"


class Charge(Job):
    card: str
    breaks: bool = False

    encrypted = True
    unique = True
    tries = 9

    def unique_id(self) -> str:
        return self.card

    def middleware(self) -> list[Any]:
        return [
            WithoutOverlapping(self.card),
            WithoutOverlapping(self.card).shared().park(),
            RateLimited("cards").park(),
            ThrottlesExceptions(5, 5).by(self.card),
        ]

    def handle(self) -> None:
        if self.breaks:
            raise ValueError


class Refund(Job):
    card: str

    encrypted = True
    tries = 9

    def middleware(self) -> list[Any]:
        return [WithoutOverlapping(self.card).shared(), RateLimited("cards")]

    def handle(self) -> None: ...


class Lookup(Job):
    card: str

    def handle(self) -> None: ...


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Laraq]:
    monkeypatch.setattr(RateLimiter, "_callbacks", {})
    RateLimiter.for_("cards", lambda job: Limit.per_day(1).by(job.card))
    app = Celery("t", broker="memory://", set_as_current=False)
    with Laraq(app, store=f"sqlite:///{tmp_path}/store.db", keys=[Fernet.generate_key().decode()]) as queue:
        yield queue
    queue.store.close()


def run(queue: Laraq, job: Job, id: str) -> Verdict:
    payload, _ = queue.dispatcher.claim(queue.packer.payload(job, id), job)
    run = queue.runner.run(Delivery(payload, 1, "q", "c"))

    def park(run: Any, obstacle: Any) -> bool:
        queue.parking.park(obstacle, run.payload)
        return True

    queue.books.settle(run, park=park)
    assert SECRET not in json.dumps(run.payload.to_dict()) or not job.encrypted
    return run.verdict


def test_no_name_of_an_encrypted_job_shows_what_it_holds(
    queue: Laraq, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "laraq")
    assert isinstance(run(queue, Charge(SECRET, breaks=True), "1"), Release)
    assert isinstance(run(queue, Charge(SECRET), "2"), Release)
    assert queue.store.locks.acquire(WithoutOverlapping(SECRET).shared().lock_key(Charge(SECRET)), "other", 60)
    assert isinstance(run(queue, Charge(SECRET), "3"), Release)
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"overlap:" in written
    assert b"limiter:cards:" in written
    assert b"throttles_exceptions:" in written
    assert SECRET.encode() not in written
    assert SECRET not in caplog.text


def test_encrypted_jobs_share_keys_with_each_other(queue: Laraq) -> None:
    lock = WithoutOverlapping(SECRET).shared()
    assert lock.lock_key(Charge(SECRET)) == lock.lock_key(Refund(SECRET)) != lock.lock_key(Lookup(SECRET))
    assert run(queue, Charge(SECRET), "1") == Done()
    assert isinstance(run(queue, Refund(SECRET), "2"), Release), "the day's only one is used up"
    assert RateLimiter.remaining("cards", Refund(SECRET)) == 0
    RateLimiter.clear("cards", Charge(SECRET))
    assert run(queue, Refund(SECRET), "3") == Done()


def test_names_of_other_jobs_can_be_read(queue: Laraq) -> None:
    assert WithoutOverlapping("7").lock_key(Lookup("7")) == f"overlap:{Lookup.job_name()}:7"
