"""A token of an encrypted job opens for that job and id alone, and nothing is taken in its place."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from cryptography.fernet import Fernet

from laraq import Bus, Job, Laraq, job
from laraq.errors import InvalidJobError, PayloadError, TamperedPayloadError
from laraq.jobs.fields.codec import Codec
from laraq.messages.delivery import Delivery, Done, Fail
from laraq.messages.keys import Keys
from laraq.messages.payload import CIPHER, Payload
from laraq_celery import LaraqTask
from tests.support.line import Line

KEY, OTHER = Fernet.generate_key().decode(), Fernet.generate_key().decode()
SECRET = "4111-1111"
ran: list[Any] = []


class Charge(Job):
    card: str
    amount: int = 1

    encrypted = True

    def handle(self) -> None:
        ran.append((self.card, self.amount))


class Refund(Job):
    card: str
    amount: int = 1

    encrypted = True

    def handle(self) -> None:
        ran.append("refund")


class Empty(Job):
    encrypted = True

    def handle(self) -> None:
        ran.append("empty")


class Open(Job):
    card: str

    def handle(self) -> None:
        ran.append(self.card)


class Breaks(Job):
    def handle(self) -> None:
        raise ValueError


@job(encrypted=True)
def charge(card: str) -> None:
    ran.append(card)


def plain(card: str) -> None: ...


def attached(**settings: Any) -> Laraq:
    app = Celery("t", broker="memory://", set_as_current=False)
    return Laraq(app, store="memory://", **{"keys": [KEY], **settings})


@pytest.fixture(autouse=True)
def queue() -> Iterator[Laraq]:
    ran.clear()
    with attached() as queue:
        yield queue


def arrive(queue: Laraq, payload: Payload) -> Any:
    run = queue.runner.run(Delivery(payload, 1, "q", "c"))
    queue.books.settle(run)
    return run.verdict


def token(fields: Any, key: str = KEY) -> dict[str, Any]:
    """As earlier versions made it."""
    return {CIPHER: Keys([key]).encrypt(json.dumps(fields).encode())}


def refused(verdict: Any) -> None:
    assert isinstance(verdict, Fail)
    assert type(verdict.error) is TamperedPayloadError
    assert ran == []


def test_a_token_opens_for_its_class_and_id(queue: Laraq) -> None:
    assert arrive(queue, queue.packer.payload(Charge(SECRET, 5), "1")) == Done()
    assert arrive(queue, queue.packer.payload(charge.job(SECRET), "2")) == Done()
    assert ran == [(SECRET, 5), SECRET]


@pytest.mark.parametrize("changes", [{"id": "2"}, {"job": Refund.job_name()}, {"job": Open.job_name()}])
def test_a_token_made_for_another_class_or_id_is_refused(queue: Laraq, changes: dict[str, str]) -> None:
    refused(arrive(queue, queue.packer.payload(Charge(SECRET), "1").with_(**changes)))


@pytest.mark.parametrize(
    ("fields", "args"),
    [
        ({"card": SECRET}, ()),
        ({}, (SECRET,)),
        ({}, ()),
        ({"amount": 900, **token({"card": SECRET})}, ()),
        (token({"card": SECRET}), (5,)),
        (token([{"card": SECRET}]), ()),
        (token("card"), ()),
        ({CIPHER: Keys([KEY]).encrypt(b"what the application encrypted with the same key")}, ()),
    ],
    ids=["by name", "by position", "none", "beside a token", "before a token", "list", "text", "no JSON"],
)
def test_an_encrypted_class_takes_nothing_but_its_token(
    queue: Laraq, caplog: pytest.LogCaptureFixture, fields: Any, args: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    refused(arrive(queue, Payload("1", Charge.job_name(), fields, args)))
    [kept] = queue.failed.all()
    assert SECRET not in f"{kept!r}{caplog.text}"


def test_an_encrypted_class_without_fields_needs_its_token_too(queue: Laraq) -> None:
    refused(arrive(queue, Payload("1", Empty.job_name())))
    assert arrive(queue, queue.packer.payload(Empty(), "1")) == Done()


@pytest.mark.parametrize(("accepted", "runs"), [({}, True), ({"accept_unsigned": "none"}, False)])
def test_tokens_of_earlier_versions_are_read_until_the_setting_says_no(accepted: dict[str, str], runs: bool) -> None:
    with attached(**accepted) as queue:
        verdict = arrive(queue, Payload("1", Charge.job_name(), token({"card": SECRET})))
        assert (verdict == Done()) is runs
        assert (ran != []) is runs


def test_laraq_retry_sends_it_under_its_id() -> None:
    class Flaky(Charge):
        def handle(self) -> None:
            if not ran:
                ran.append("failed")
                raise ValueError
            super().handle()

    with Line.attached(keys=[KEY]) as line:
        Flaky(SECRET).dispatch()
        line.work()
        line.laraq.failed.retry("all")
        line.work()
    assert ran == ["failed", (SECRET, 1)]


def test_links_members_and_what_a_run_adds_are_bound_to_the_ids_they_run_under() -> None:
    class Adds(Job):
        def handle(self) -> None:
            self.append_to_chain(Charge(SECRET, 4))
            batch = self.batch()
            if batch is not None:
                batch.add(Charge(SECRET, 5))

    with Line.attached(keys=[KEY]) as line:
        Bus.chain([Charge(SECRET, 1), Charge.si(SECRET, 2), Adds()]).dispatch()
        Bus.batch([Adds(), [Breaks, Charge(SECRET)], Charge(SECRET, 3)]).allow_failures().dispatch()
        Bus.chain([Bus.batch([Charge(SECRET, 6)]), Charge(SECRET, 7)]).dispatch()
        line.work()
        assert [failed.job for failed in line.laraq.failed.all()] == [Breaks.job_name()]
    assert sorted(amount for _, amount in ran) == [1, 2, 3, 4, 4, 5, 6, 7]


def test_a_callback_is_bound_to_the_id_it_is_sent_under() -> None:
    with Line.attached(keys=[KEY]) as line:
        Bus.batch([Breaks()]).catch(Charge(SECRET, 1)).finally_(Charge(SECRET, 2)).dispatch()
        Bus.chain([Breaks()]).catch(Charge(SECRET, 3)).dispatch()
        line.work()
        assert {failed.job for failed in line.laraq.failed.all()} == {Breaks.job_name()}
        callbacks = [payload for payload in line.taken if payload.job == Charge.job_name()]
        refused_id = callbacks[0].with_(id="another", once=0)
        assert isinstance(line.run(refused_id).verdict, Fail)  # type: ignore[union-attr] # it is another job
    assert sorted(amount for _, amount in ran) == [1, 2, 3]


def test_a_callback_that_was_changed_in_the_store_is_sent_on_and_refused() -> None:
    with Line.attached(keys=[KEY]) as line:
        Bus.chain([Breaks()]).catch(Charge(SECRET)).dispatch()
        payload, delay = line.waiting.pop()
        [catcher] = payload.chain["catch"]
        catcher["link"]["job"] = Refund.job_name()
        line.waiting.append((payload.with_(chain={"catch": [catcher]}), delay))
        line.work()
        errors = {failed.job: failed.exception for failed in line.laraq.failed.all()}
    assert "TamperedPayloadError" in errors[Refund.job_name()]
    assert ran == []


def test_no_token_of_another_message_is_made_anew_for_a_callback(queue: Laraq) -> None:
    taken = queue.packer.payload(Charge(SECRET), "1").to_dict()
    with Line.attached(keys=[KEY]) as line:
        line.push(Payload("2", Breaks.job_name(), chain={"catch": [{"link": taken}]}))
        line.work()
        errors = {failed.job: failed.exception for failed in line.laraq.failed.all()}
    assert "TamperedPayloadError" in errors[Charge.job_name()]
    assert ran == []


def test_what_does_not_fit_is_told_without_a_value_or_the_key_of_a_dict() -> None:
    class Cards(Job):
        limits: dict[str, int]

        encrypted = True

        def handle(self) -> None: ...

    codec = Codec(Keys([KEY]))
    with pytest.raises(InvalidJobError, match=r"limits \(int_parsing\)") as caught:
        codec.dump(Cards({SECRET: "many"}), "1")  # type: ignore[dict-item] # that is the point
    assert SECRET not in str(caught.value)
    with pytest.raises(PayloadError, match=r"limits \(int_parsing\)") as lost:
        codec.load(Cards, Payload("1", Cards.job_name(), token({"limits": {SECRET: "many"}})))
    assert SECRET not in str(lost.value)


def test_an_ordinary_task_cannot_say_that_it_is_encrypted(queue: Laraq) -> None:
    app = queue.host.app  # type: ignore[attr-defined] # the host is Celery's
    with pytest.raises(TypeError, match="Make it a Job"):
        app.task(name="shop.charge", base=LaraqTask, encrypted=True, lazy=False, shared=False)(plain)
