"""A job whose `handle` a test calls itself: what it decided, what follows it, its batch."""

from __future__ import annotations

import asyncio

import pytest

from laraq import Bus, Injected, Job, Laraq, injected, job
from laraq.errors import InjectionError, NotInQueueError
from laraq.testing import BatchFake
from tests.testing.jobs import Bill, Ship


class Charge(Job):
    does: str = ""

    def handle(self) -> None:
        match self.does:
            case "release":
                self.release(30)
            case "fail":
                self.fail(ValueError("declined"))
            case "delete":
                self.delete()
            case "add":
                batch = self.batch()
                assert batch is not None
                batch.add([Ship(1), Ship(2)])
                batch.cancel()
            case "chain":
                self.prepend_to_chain(Ship(1))


def charged(does: str = "") -> Charge:
    job = Charge(does).with_fake_queue_interactions()
    job.handle()
    return job


def test_assertions_that_hold() -> None:
    released, failed, deleted, nothing = map(charged, ("release", "fail", "delete", ""))
    released.assert_released()
    released.assert_released(delay=30)
    failed.assert_failed()
    failed.assert_failed_with(ValueError)
    failed.assert_failed_with("declined")
    failed.assert_failed_with(ValueError("declined"))
    deleted.assert_deleted()
    nothing.assert_not_released()
    nothing.assert_not_failed()
    nothing.assert_not_deleted()


@pytest.mark.parametrize(
    ("does", "assertion", "text"),
    [
        ("", "assert_released", "to be released, but it was not. Its outcome is open."),
        ("delete", "assert_released", "to be released, but it was not. It was deleted."),
        ("release", "assert_not_released", "not to be released. It was released with 30 s."),
        ("", "assert_failed", "to fail, but it did not."),
        ("fail", "assert_not_failed", "not to fail. It was failed with ValueError('declined')."),
        ("", "assert_deleted", "to be deleted, but it was not."),
        ("delete", "assert_not_deleted", "not to be deleted. It was deleted."),
    ],
)
def test_assertions_that_fail_say_what_it_decided(does: str, assertion: str, text: str) -> None:
    with pytest.raises(AssertionError) as failure:
        getattr(charged(does), assertion)()
    assert text in str(failure.value)


def test_another_delay_and_another_error_fail() -> None:
    with pytest.raises(AssertionError, match=r"released with 60 s\. It was released with 30 s"):
        charged("release").assert_released(delay=60)
    for error in (KeyError, "other", ValueError("other")):
        with pytest.raises(AssertionError, match=r"but it failed with ValueError\('declined'\)"):
            charged("fail").assert_failed_with(error)


def test_without_it_the_verbs_need_a_running_job() -> None:
    with pytest.raises(NotInQueueError):
        Charge("release").handle()
    with pytest.raises(NotInQueueError, match=r"needs with_fake_queue_interactions\(\)"):
        Charge().assert_released()


def test_a_batch_in_memory() -> None:
    job, batch = Charge("add").with_fake_batch(name="import", total_jobs=4, pending_jobs=1, failed_jobs=1)
    assert (batch.name, batch.processed_jobs, batch.progress, batch.cancelled) == ("import", 3, 75, False)
    job.handle()
    assert batch.added == [Ship(1), Ship(2)]
    assert (batch.total_jobs, batch.cancelled, batch.deleted) == (6, True, False)
    assert isinstance(job.batch(), BatchFake)


class Mailer:
    def __init__(self) -> None:
        self.sent: list[int] = []


class Mail(Job):
    user_id: int

    def handle(self, mailer: Mailer, running: Job) -> None:
        assert running is self
        mailer.sent.append(self.user_id)


class MailAsync(Job):
    user_id: int

    async def handle(self, mailer: Mailer) -> str:
        mailer.sent.append(self.user_id)
        return "sent"


@job
def mail(user_id: int, mailer: Injected[Mailer] = injected()) -> str:  # noqa: B008
    mailer.sent.append(user_id)
    return "sent"


def test_what_handle_is_not_given_is_injected(queue: Laraq) -> None:
    bound, given = Mailer(), Mailer()
    queue.container.instance(Mailer, bound)
    with_interactions, (with_batch, _) = Mail(1).with_fake_queue_interactions(), Mail(2).with_fake_batch()
    for each in (with_interactions, with_batch):
        each.handle()  # type: ignore[call-arg] # what is missing is injected
    with_interactions.handle(given)  # type: ignore[call-arg] # what is missing is injected
    assert asyncio.run(MailAsync(3).with_fake_queue_interactions().handle()) == "sent"  # type: ignore[call-arg]
    assert mail.job(4).with_fake_queue_interactions().handle() == "sent"  # type: ignore[attr-defined]
    assert (bound.sent, given.sent) == ([1, 2, 3, 4], [1])


def test_a_parameter_that_cannot_be_filled_is_named() -> None:
    class Odd(Job):
        def handle(self, number: int) -> None: ...

    with pytest.raises(InjectionError, match="number"):
        Odd().with_fake_queue_interactions().handle()  # type: ignore[call-arg]


def test_what_follows_a_job() -> None:
    job = Charge().with_chain([Ship(1), Bill(2), Bus.batch([Ship(3)])])
    job.assert_has_chain([Ship, Bill(2), Bus.chained_batch()])
    Charge().assert_doesnt_have_chain()
    charged("chain").assert_has_chain([Ship(1)])
    with pytest.raises(AssertionError, match=r"followed by Bill, but it is followed by Ship\(1\) -> Bill\(2\) -> "):
        job.assert_has_chain([Bill])
    with pytest.raises(AssertionError, match="to be followed by nothing, but it is followed by"):
        job.assert_doesnt_have_chain()
    with pytest.raises(ValueError, match="An expected chain needs a link"):
        job.assert_has_chain([])
