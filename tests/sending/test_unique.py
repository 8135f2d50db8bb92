"""Unique and debounced jobs: what is claimed at every door, and freed on every path."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from cryptography.fernet import Fernet

from laraq import Bus, Events, Job, Laraq, dispatch, events
from laraq.errors import DispatchError, InvalidJobError, JobDefinitionError
from laraq.messages.delivery import Crash, Delivery, Done, Fail, Release, Superseded
from laraq.messages.payload import Payload


class Sent:
    """A connection that keeps what it takes."""

    name = "kept"
    immediate = False

    def __init__(self) -> None:
        self.payloads: list[Payload] = []
        self.delays: list[float] = []
        self.down = False

    def push(self, payload: Payload, delay: float = 0) -> None:
        if self.down:
            raise DispatchError("down")
        self.payloads.append(payload)
        self.delays.append(delay)

    def bulk(self, payloads: Any) -> None:
        for payload, delay in payloads:
            self.push(payload, delay)

    def default_queue(self) -> str:
        return "kept"


@pytest.fixture
def sent() -> Sent:
    return Sent()


@pytest.fixture
def queue(sent: Sent) -> Iterator[Laraq]:
    app = Celery("t", broker="memory://", set_as_current=False)
    laraq = Laraq(app, store="memory://", connections={"kept": sent}, default="kept")
    with laraq:
        yield laraq


class Import(Job):
    account: int
    outcome: str = "done"

    unique = True
    tries = 2

    def unique_id(self) -> int:
        return self.account

    def handle(self) -> None:
        match self.outcome:
            case "raise":
                raise ValueError
            case "fail":
                self.fail("by hand")
            case "release":
                self.release(5)


class Index(Job):
    unique_until_processing = True

    def middleware(self) -> list[Any]:
        return [lambda job, next: None if Index.stop else next(job)]

    def handle(self) -> None:
        Index.free_inside = not Index.dispatch().skipped

    stop = False
    free_inside = False


def run(queue: Laraq, payload: Payload, attempt: int = 1, **delivery: Any) -> Any:
    run = queue.runner.run(Delivery(payload, attempt, "kept", "kept", **delivery))
    queue.books.settle(run)
    return run.verdict


NO_LEASES = [0, -1, 0.0, float("nan"), float("inf"), timedelta(0), timedelta(seconds=-5), True, "soon", 10**400]


@pytest.mark.parametrize("length", NO_LEASES, ids=repr)
def test_a_lock_that_cannot_hold_is_refused_where_it_is_said(queue: Laraq, sent: Sent, length: Any) -> None:
    with pytest.raises(JobDefinitionError, match=r"Bad: unique_for = .* seconds above 0"):

        class Bad(Job):
            unique = True
            unique_for = length

            def handle(self) -> None: ...

    class Computed(Import):
        def unique_for(self) -> Any:
            return length

    own = Import(2)
    own.unique_for = length
    for job in (Computed(1), own):
        sends = [partial(dispatch, job), partial(Bus.bulk, [Import(3), job]), Bus.chain([Import(3), job]).dispatch]
        for send in sends:
            with pytest.raises(InvalidJobError, match=r"unique_for is .* seconds above 0"):
                send()
    assert sent.payloads == []
    assert not Import.dispatch(3).skipped, "nothing that was refused holds a lock"


def test_a_link_whose_lock_has_come_to_nothing_is_sent_without_it(queue: Laraq, sent: Sent) -> None:
    left = [60.0]

    class UntilMidnight(Import):
        def unique_for(self) -> float:
            return left[0]

    Bus.chain([Import(1), UntilMidnight(2)]).dispatch()
    left[0] = 0.0
    run(queue, sent.payloads[0])
    assert [payload.job for payload in sent.payloads[1:]] == [UntilMidnight.job_name()]


def test_the_second_dispatch_is_skipped_with_the_id_of_the_first(queue: Laraq, sent: Sent) -> None:
    told: list[events.UniqueJobSkipped] = []
    with Events.listening(events.UniqueJobSkipped, told.append):
        first, second, other = Import.dispatch(1), Import.dispatch(1), Import.dispatch(2)
    assert (second.skipped, second.id) == (True, first.id)
    assert not first.skipped
    assert not other.skipped
    assert len(sent.payloads) == 2
    assert [event.existing_id for event in told] == [first.id]


@pytest.mark.parametrize(("outcome", "attempt", "freed"), [
    ("done", 1, True), ("fail", 1, True), ("raise", 2, True), ("raise", 1, False), ("release", 1, False),
])  # fmt: skip
def test_the_lock_is_freed_when_the_job_is_over_and_kept_while_it_goes_on(
    queue: Laraq, sent: Sent, outcome: str, attempt: int, freed: bool
) -> None:
    Import.dispatch(1, outcome)
    run(queue, sent.payloads[0], attempt)
    assert Import.dispatch(1).skipped is not freed


def test_a_lost_child_that_was_the_last_try_frees_the_lock(queue: Laraq, sent: Sent) -> None:
    Import.dispatch(1)
    assert isinstance(run(queue, sent.payloads[0], 1, crash=Crash("lost", "killed")), Release)
    assert Import.dispatch(1).skipped
    assert isinstance(run(queue, sent.payloads[0], 2, crash=Crash("lost", "killed")), Fail)
    assert not Import.dispatch(1).skipped


def test_a_job_frees_no_lock_but_its_own(queue: Laraq, sent: Sent) -> None:
    Import.dispatch(1)
    queue.unique.unlock(Import.job_name(), "1")
    Import.dispatch(1)
    run(queue, sent.payloads[0])
    assert Import.dispatch(1).skipped, "the second job still holds it"


def test_a_job_that_was_not_sent_holds_no_lock(queue: Laraq, sent: Sent) -> None:
    sent.down = True
    with pytest.raises(DispatchError):
        Import.dispatch(1)
    with pytest.raises(DispatchError):
        Bus.bulk([Import(2), Import(3)])
    sent.down = False
    assert not any(Import.dispatch(account).skipped for account in (1, 2, 3))


def test_bulk_honours_locks(queue: Laraq, sent: Sent) -> None:
    answers = Bus.bulk([Import(1), Import(2), Import(1)])
    assert [answer.skipped for answer in answers] == [False, False, True]
    assert len(sent.payloads) == 2


def test_until_processing_frees_after_the_middleware_and_before_handle(queue: Laraq, sent: Sent) -> None:
    Index.dispatch()
    assert Index.dispatch().skipped
    assert isinstance(run(queue, sent.payloads[0]), Done)
    assert Index.free_inside


def test_until_processing_is_freed_by_a_middleware_that_ends_the_job(
    queue: Laraq, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Index, "stop", True)
    Index.dispatch()
    run(queue, sent.payloads[0])
    assert not Index.dispatch().skipped


class Rebuild(Job):
    debounce_for = 10
    debounce_max_wait = 0.0

    def handle(self) -> None:
        Rebuild.runs += 1

    runs = 0


class Refresh(Job):
    debounce_for = 10

    def handle(self) -> None:
        Refresh.runs += 1

    runs = 0


def test_of_debounced_jobs_the_last_one_runs(queue: Laraq, sent: Sent) -> None:
    told: list[events.JobDebounced] = []
    for _ in range(3):
        Refresh.dispatch()
    assert sent.delays == [10, 10, 10]
    with Events.listening(events.JobDebounced, told.append):
        for payload in sent.payloads:
            run(queue, payload)
    assert Refresh.runs == 1
    assert [event.id for event in told] == [payload.id for payload in sent.payloads[:2]]


def test_a_superseded_job_is_over_and_nothing_follows_it(queue: Laraq, sent: Sent) -> None:
    heard: list[str] = []
    Refresh().with_chain([Refresh]).dispatch()
    Refresh.dispatch()
    superseded = sent.payloads[0]
    assert superseded.chain
    with Events.listening(events.RunEvent, lambda event: heard.append(type(event).__name__)):
        assert run(queue, superseded.with_(batch_id="none")) == Superseded()
    assert heard == ["JobProcessing", "JobDebounced", "JobAttempted"]
    assert len(sent.payloads) == 2


def test_a_debounced_job_waits_no_longer_than_its_max_wait(queue: Laraq, sent: Sent) -> None:
    Rebuild.dispatch()
    Rebuild.dispatch()
    assert sent.delays[-1] == 0


def test_a_unique_task_of_celery_is_sent_once(queue: Laraq, sent: Sent) -> None:
    from laraq import LaraqTask

    @queue.host.app.task(base=LaraqTask, unique=True, name="unique.legacy")  # type: ignore[attr-defined] # Celery's
    def legacy(x: int, y: int = 0) -> int:
        return x

    first, second = legacy.delay(1, y=2), legacy.delay(1, y=2)
    assert first.id == second.id
    [payload] = sent.payloads
    assert (payload.args, payload.fields) == ((1,), {"y": 2})


def _dispatch_all(url: str, start: int, count: int, answers: Any) -> None:
    app = Celery("t", broker="memory://", set_as_current=False)
    with Laraq(app, store=url, default="null") as laraq:
        skipped = [Import.dispatch((start + n) % 100).skipped for n in range(count)]
        answers.put(skipped.count(False))
        laraq.store.close()


@pytest.mark.serial
@pytest.mark.parametrize(("kind", "each"), [("redis", 1250), ("postgres", 250), ("sqlite", 250)])
def test_of_thousands_of_dispatches_of_a_hundred_keys_a_hundred_are_sent(
    kind: str, each: int, request: pytest.FixtureRequest
) -> None:
    """Eight processes; `LARAQ_UNIQUE_DISPATCHES=1250` makes it ten thousand on every store."""
    each = int(os.environ.get("LARAQ_UNIQUE_DISPATCHES", each))
    url = request.getfixturevalue(f"{kind}_url")
    with Laraq(Celery("t", broker="memory://", set_as_current=False), store=url) as laraq:
        laraq.migrate()
        laraq.store.close()
    context = multiprocessing.get_context("spawn")
    answers: Any = context.Queue()
    processes = [context.Process(target=_dispatch_all, args=(url, 13 * n, each, answers)) for n in range(8)]
    for process in processes:
        process.start()
    counts = [answers.get(timeout=100) for _ in processes]
    for process in processes:
        process.join()
    assert sum(counts) == 100


def test_a_job_refused_for_its_delay_holds_no_lock(queue: Laraq, sent: Sent) -> None:
    with pytest.raises(InvalidJobError, match="timezone"):
        Import(1).with_delay(datetime(2036, 1, 1)).dispatch()
    assert not Import(1).dispatch().skipped


# Which store, and what its keys show


class Elsewhere(Import):
    def unique_via(self) -> str:
        return Elsewhere.url

    url = "memory://"


class ByField(Import):
    def unique_via(self) -> str:
        return f"memory://{self.account}"


def test_a_message_does_not_say_which_store_holds_its_lock(queue: Laraq, sent: Sent, tmp_path: Path) -> None:
    via = f"sqlite:///{tmp_path}/made.db"
    for unique in ({"key": "unique:k", "owner": "o", "via": via}, {"key": "debounced:k", "token": "t", "via": via}):
        for outcome in ("done", "fail"):
            payload = queue.packer.payload(Import(1, outcome), "o").with_(unique=unique)
            run(queue, payload)
            queue.books.failed(payload.with_(fields={}), ValueError())
            queue.failed.retry("all")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("end", ["run", "dropped", "retry"])
def test_the_class_says_which_store_holds_its_lock(
    queue: Laraq, sent: Sent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr(Elsewhere, "url", f"sqlite:///{tmp_path}/secret.db")
    Elsewhere.dispatch(1, "fail")
    [payload] = sent.payloads
    assert "secret" not in json.dumps(payload.to_dict()), "a URL is for those who connect"
    key = payload.unique["key"]
    locks = queue.store_of(Elsewhere.url).locks
    assert locks.owner(key) == payload.id
    assert queue.store.locks.owner(key) is None
    if end == "dropped":
        queue.books.failed(payload.with_(fields={}), ValueError())
    else:
        run(queue, payload)
    assert locks.owner(key) is None
    if end == "retry":
        queue.failed.retry("all")
        assert locks.owner(key) == payload.id


def test_a_lock_whose_store_nobody_can_name_ends_by_itself(queue: Laraq, sent: Sent) -> None:
    ByField.dispatch(1)
    [payload] = sent.payloads
    for lost in (payload.with_(job="gone.Class"), payload.with_(fields={})):
        queue.books.failed(lost, ValueError())
    assert queue.store_of("memory://1").locks.owner(payload.unique["key"]) == payload.id
    run(queue, payload)
    assert queue.store_of("memory://1").locks.owner(payload.unique["key"]) is None


@pytest.mark.parametrize("kind", ["overlap:x", "limiter:x", "", None, 5])
def test_a_message_frees_nothing_but_unique_locks(queue: Laraq, kind: Any) -> None:
    queue.store.locks.acquire(str(kind), "1", 60)
    queue.store.cache.put(f"{kind}:first", "value", 60)
    queue.store.cache.put(str(kind), "1", 60)
    for claim in ({"owner": "1"}, {"token": "1"}, {"token": "2"}):
        payload = queue.packer.payload(Import(1), "1").with_(unique={"key": kind, **claim})
        assert isinstance(run(queue, payload), Done)
    assert queue.store.locks.owner(str(kind)) == "1"
    assert queue.store.cache.get(f"{kind}:first") is not None


OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


class Card(Job):
    number: str

    encrypted = True
    unique = True

    def unique_id(self) -> str:
        return self.number

    def handle(self) -> None: ...


class LastCard(Card):
    unique = False
    debounce_for = 5


@pytest.fixture
def keyed(sent: Sent) -> Iterator[Laraq]:
    app = Celery("t", broker="memory://", set_as_current=False)
    with Laraq(app, store="memory://", connections={"kept": sent}, default="kept", keys=[NEW, OLD]) as laraq:
        yield laraq


def test_the_id_of_an_encrypted_job_is_hidden_and_still_unique(keyed: Laraq, sent: Sent) -> None:
    first, second, other = Card.dispatch("4111"), Card.dispatch("4111"), Card.dispatch("4222")
    assert (second.skipped, second.id) == (True, first.id)
    assert not other.skipped
    LastCard.dispatch("4111")
    LastCard.dispatch("4111")
    for payload in sent.payloads:
        assert "4111" not in json.dumps(payload.to_dict())
    assert keyed.unique.is_debounced(sent.payloads[2].unique)
    assert not keyed.unique.is_debounced(sent.payloads[3].unique)
    run(keyed, sent.payloads[0])
    assert not Card.dispatch("4111").skipped


def test_the_hidden_id_is_the_same_in_every_process_with_the_key(keyed: Laraq, sent: Sent) -> None:
    Card.dispatch("4111")
    app = Celery("u", broker="memory://", set_as_current=False)
    with Laraq(app, store=keyed.store, connections={"kept": sent}, default="kept", keys=[NEW]):
        assert Card.dispatch("4111").skipped


def test_a_lock_of_an_encrypted_job_is_freed_by_hand_whatever_key_has_hidden_it(keyed: Laraq, sent: Sent) -> None:
    app = Celery("u", broker="memory://", set_as_current=False)
    with Laraq(app, store=keyed.store, connections={"kept": sent}, default="kept", keys=[OLD]):
        Card.dispatch("4111")
    assert keyed.unique.unlock(Card.job_name(), "4111")
    assert not keyed.unique.unlock(Card.job_name(), "4111")
    Card.dispatch("4111")
    assert keyed.unique.unlock(Card.job_name(), "4111")
