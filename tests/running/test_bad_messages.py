"""Messages that cannot become a job, and jobs whose own methods raise."""

from __future__ import annotations

from typing import Any

import pytest

from laraq import Job, Laraq
from laraq.errors import PayloadError, UnknownJobError, UnsupportedPayloadError
from laraq.messages.delivery import Delivery, Fail, Release
from laraq.messages.payload import CIPHER, Payload
from laraq.running.runner import UNKNOWN_TRIES
from tests.running.jobs import Patient, Script
from tests.running.runs import settled


def until_it_fails(queue: Laraq, payload: Payload, error: PayloadError | None = None) -> tuple[list[Release], Fail]:
    """Deliver it as often as it goes back."""
    released: list[Release] = []
    for _ in range(100):
        run = queue.runner.run(Delivery(payload, payload.attempts + 1, "default", "default", error=error))
        if isinstance(run.verdict, Fail):
            return released, run.verdict
        assert isinstance(run.verdict, Release)
        released.append(run.verdict)
        payload = run.payload
    raise AssertionError("it never fails")


def test_a_message_of_an_unknown_class_goes_back_and_at_last_fails(
    queue: Laraq, caplog: pytest.LogCaptureFixture
) -> None:
    released, failed = until_it_fails(queue, Payload("1", "shop.jobs.NotDeployedYet", {"a": 1}))
    assert len(released) == UNKNOWN_TRIES - 1
    assert all(release.delay > 0 for release in released)
    assert isinstance(failed.error, UnknownJobError)
    assert "shop.jobs.NotDeployedYet" in caplog.text


def test_a_message_that_was_never_started_has_used_no_attempt(queue: Laraq) -> None:
    released, _ = until_it_fails(queue, Payload("1", "shop.jobs.NotDeployedYet"))
    assert not any(release.counted for release in released)


def test_an_unknown_class_keeps_the_tries_its_message_brings(queue: Laraq) -> None:
    released, _ = until_it_fails(queue, Payload("1", "shop.jobs.NotDeployedYet", options={"tries": 2}))
    assert len(released) == 1


def test_a_message_of_a_newer_version_goes_back_and_at_last_fails(queue: Laraq) -> None:
    newer = UnsupportedPayloadError(99, 1)
    released, failed = until_it_fails(queue, Payload("1", Script.job_name()), newer)
    assert len(released) == UNKNOWN_TRIES - 1
    assert failed.error is newer


def test_a_message_that_is_no_payload_fails_at_once(queue: Laraq) -> None:
    error = PayloadError("The laraq header is a str.")
    assert queue.runner.run(Delivery(Payload("1", Patient.job_name()), 1, "q", "c", error=error)).verdict == Fail(error)


@pytest.mark.parametrize(
    "fields",
    [{}, {"steps": 5}, {"steps": [], "colour": "red"}, {CIPHER: "no token"}, {CIPHER: 5}],
    ids=["missing", "wrong type", "unknown", "not decrypted", "no token at all"],
)
def test_fields_that_cannot_become_the_job_fail_at_once(queue: Laraq, fields: dict[str, Any]) -> None:
    run = queue.runner.run(Delivery(Payload("1", Patient.job_name(), fields), 1, "q", "c"))
    assert isinstance(run.verdict, Fail)
    assert isinstance(run.verdict.error, PayloadError)


def test_a_constructor_hook_that_raises_is_an_exception_of_the_job(queue: Laraq) -> None:
    run = settled(queue, delivery_of_fussy(queue))
    assert isinstance(run.verdict, Fail)
    assert "fussy" in str(run.verdict.error)
    assert queue.failed.find("1") is not None


class Fussy(Job):
    n: int

    def __post_init__(self) -> None:
        if self.n < 0:
            raise RuntimeError("fussy")

    def handle(self) -> None: ...


def delivery_of_fussy(queue: Laraq) -> Delivery:
    return Delivery(Payload("1", Fussy.job_name(), {"n": -1}), 1, "q", "c")


@pytest.mark.parametrize("method", ["tries", "retry_until", "middleware", "backoff"])
def test_a_method_of_the_job_that_raises_fails_it_and_not_the_worker(queue: Laraq, method: str) -> None:
    def broken(self: Any) -> Any:
        raise RuntimeError("broken method")

    body = {"handle": lambda self: 1 / 0, "tries": 3, method: broken}
    cls: Any = type("Broken", (Job,), {"__module__": __name__, **body})
    run = settled(queue, Delivery(Payload("1", cls.job_name()), 3, "q", "c"))
    assert isinstance(run.verdict, Fail)
    assert queue.failed.find("1") is not None
