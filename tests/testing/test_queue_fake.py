"""Queue.fake(): what is pushed is recorded and checked; every assertion can fail, with a text that helps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from laraq import Bus, Job, Laraq, Queue, dispatch
from laraq.errors import DispatchError, InvalidJobError
from laraq.testing import QueueFake
from tests.testing.jobs import Bill, Flaky, Once, Ship, welcome


def both() -> QueueFake:
    with Queue.fake() as fake:
        Ship.dispatch(7)
        Bill(8).on_queue("later").with_delay(30).dispatch()
    return fake


def test_a_job_is_recorded_as_it_would_travel_and_is_not_sent() -> None:
    with Queue.fake() as fake:
        sent = Ship(7).with_delay(timedelta(minutes=2)).dispatch()
    (push,) = fake.pushes()
    assert (push.job, push.queue, push.delay) == (Ship(7), "default", 120.0)
    assert push.payload is not None
    assert (push.payload.id, push.payload.fields) == (sent.id, {"order_id": 7, "express": False})
    assert not sent.skipped


@pytest.mark.parametrize(
    "succeeds",
    [
        lambda fake: fake.assert_pushed(Ship),
        lambda fake: fake.assert_pushed(Ship, lambda job: job.order_id == 7),
        lambda fake: fake.assert_pushed(Ship(7)),
        lambda fake: fake.assert_pushed("tests.testing.jobs.Ship"),
        lambda fake: fake.assert_pushed(lambda job: getattr(job, "order_id", 0) == 8),
        lambda fake: fake.assert_pushed(Ship, 1),
        lambda fake: fake.assert_pushed(Ship, times=1),
        lambda fake: fake.assert_pushed_once(Ship),
        lambda fake: fake.assert_pushed_times(Flaky, 0),
        lambda fake: fake.assert_pushed_on("later", Bill),
        lambda fake: fake.assert_not_pushed(Flaky),
        lambda fake: fake.assert_not_pushed(Ship, lambda job: job.express),
        lambda fake: fake.assert_count(2),
        lambda fake: fake.assert_pushed_without_chain(Ship),
        lambda fake: fake.assert_closure_not_pushed(),
    ],
)
def test_assertions_that_hold(succeeds: Callable[[QueueFake], None]) -> None:
    succeeds(both())


@pytest.mark.parametrize(
    ("fails", "text"),
    [
        (lambda fake: fake.assert_pushed(Flaky), "Expected Flaky to be pushed, but it was not. Pushed:\n  Ship(7) on"),
        (lambda fake: fake.assert_pushed(Ship(9)), "Near misses:\n  Ship(7): order_id is 7, expected 9"),
        (
            lambda fake: fake.assert_pushed(Ship, lambda job: job.express),
            "Near misses:\n  Ship(7): where(job) is false",
        ),
        (lambda fake: fake.assert_pushed(Ship, 2), "Expected Ship to be pushed twice, but it was pushed once."),
        (
            lambda fake: fake.assert_pushed_once(Flaky),
            "Expected Flaky to be pushed once, but it was pushed not at all.",
        ),
        (lambda fake: fake.assert_pushed_times(Ship, 3), "to be pushed 3 times, but it was pushed once."),
        (
            lambda fake: fake.assert_pushed_on("high", Bill),
            "Expected Bill on queue 'high', but it was pushed on 'later'",
        ),
        (
            lambda fake: fake.assert_pushed_on("high", Flaky),
            "Expected Flaky to be pushed on queue 'high', but it was not",
        ),
        (lambda fake: fake.assert_not_pushed(Bill), "Expected Bill not to be pushed, but it was:\n  Bill(8) on queue"),
        (lambda fake: fake.assert_nothing_pushed(), "Expected no job to be pushed, but these were:\n  Ship(7)"),
        (lambda fake: fake.assert_count(3), "Expected 3 pushed jobs, but there are 2: Pushed:\n  Ship(7)"),
        (lambda fake: fake.assert_closure_pushed(), "Expected CallQueuedClosure to be pushed, but it was not."),
        (lambda fake: fake.assert_pushed_with_chain(Ship, [Bill]), "Expected Ship to be followed by Bill, but it was"),
        (lambda fake: fake.assert_pushed_without_chain(Flaky), "Expected Flaky to be pushed without a chain"),
    ],
)
def test_assertions_that_fail_say_what_was_pushed(fails: Callable[[QueueFake], None], text: str) -> None:
    with pytest.raises(AssertionError) as failure:
        fails(both())
    assert text in str(failure.value)


def test_a_function_job_and_a_closure() -> None:
    with Queue.fake() as fake:
        welcome.dispatch("ada")
        dispatch(_greet)
    fake.assert_pushed_on("mails", welcome)
    fake.assert_pushed(welcome, lambda job: job.user == "ada")
    fake.assert_closure_pushed(times=1)
    with pytest.raises(AssertionError, match="Expected CallQueuedClosure not to be pushed"):
        fake.assert_closure_not_pushed()


def _greet() -> None: ...


def test_chains() -> None:
    with Queue.fake() as fake:
        Bus.chain([Ship(1), Bill(2), welcome.job("ada")]).dispatch()
    fake.assert_pushed_with_chain(Ship, [Bill, welcome])
    fake.assert_pushed_with_chain(Ship(1), [Bill(2), welcome.job("ada")])
    fake.assert_count(1)
    with pytest.raises(AssertionError, match=r"followed by Bill, but it was pushed with:\n  Bill\(2\) -> welcome"):
        fake.assert_pushed_with_chain(Ship, [Bill])
    with pytest.raises(AssertionError, match="to be pushed without a chain, but it is followed by"):
        fake.assert_pushed_without_chain(Ship)
    with pytest.raises(ValueError, match="An expected chain needs a link"):
        fake.assert_pushed_with_chain(Ship, [])


def test_a_batch_pushes_its_jobs() -> None:
    with Queue.fake() as fake:
        batch = Bus.batch([Ship(1), Ship(2)]).dispatch()
        assert batch.fresh().pending_jobs == 2
    fake.assert_pushed(Ship, times=2)


def test_a_bulk_and_a_sync_dispatch_are_pushed_too() -> None:
    with Queue.fake() as fake:
        Bus.bulk([Ship(1), Bill(2)])
        Ship.dispatch_sync(3)
        Ship.dispatch_after_response(4)
    assert fake.pushed(Ship) == [Ship(1), Ship(3), Ship(4)]
    assert fake.size("money") == 1


class Lambdas(Job):
    call: Any

    def handle(self) -> None: ...


def test_what_cannot_travel_fails_where_it_is_sent() -> None:
    with Queue.fake() as fake, pytest.raises(InvalidJobError, match="call"):
        Lambdas.dispatch(object())
    fake.assert_nothing_pushed()


def test_unique_locks_are_taken_and_freed_with_the_fake() -> None:
    for _ in range(2):
        with Queue.fake() as fake:
            assert not Once.dispatch().skipped
            assert Once.dispatch().skipped
        fake.assert_pushed_once(Once)


def test_only_some_jobs_are_faked_and_the_others_are_sent(queue: Laraq) -> None:
    with Queue.fake([Ship]) as fake:
        Ship.dispatch(1)
        with pytest.raises(DispatchError, match="has no broker"):
            Bill.dispatch(2)
    assert fake.pushed() == [Ship(1)]
    with Queue.fake().except_(Bill) as fake:
        Ship.dispatch(1)
        with pytest.raises(DispatchError, match="has no broker"):
            Bill.dispatch(2)
    assert fake.pushed() == [Ship(1)]


def test_the_lock_of_a_faked_job_is_freed_when_only_some_are_faked(queue: Laraq) -> None:
    for _ in range(2):
        with Queue.fake([Once]) as fake:
            assert not Once.dispatch().skipped
        fake.assert_pushed_once(Once)


def test_it_is_a_decorator() -> None:
    @Queue.fake()
    def act() -> None:
        Ship.dispatch(1)
        Queue.assert_pushed(Ship, times=1)

    act()
    act()


def test_it_is_a_decorator_of_async_functions_too() -> None:
    @Queue.fake([Ship])
    async def act(order_id: int) -> int:
        await Ship(order_id).adispatch()
        await asyncio.sleep(0)
        Queue.assert_pushed(Ship, times=1)
        return order_id

    assert [asyncio.run(act(n)) for n in (1, 2)] == [1, 2]


def test_the_nearest_miss_comes_first() -> None:
    with Queue.fake() as fake:
        for order_id, express in ((1, True), (7, True), (2, True)):
            Ship.dispatch(order_id, express=express)
    with pytest.raises(AssertionError) as failure:
        fake.assert_pushed(Ship(7, express=False))
    assert "Near misses:\n  Ship(7, True): express is True, expected False\n  Ship(1, True): order_id" in str(
        failure.value
    )


def test_the_facade_asks_the_innermost_fake() -> None:
    with Queue.fake():
        Ship.dispatch(1)
        with Queue.fake():
            Queue.assert_nothing_pushed()
        Queue.assert_pushed(Ship)
    with pytest.raises(RuntimeError, match=r"Queue.assert_pushed needs a fake: with Queue.fake\(\)"):
        Queue.assert_pushed(Ship)


def test_a_fake_is_used_once_at_a_time() -> None:
    with Queue.fake() as fake, pytest.raises(RuntimeError, match="in use already"), fake:
        pass


def test_nothing_is_left_of_it(queue: Laraq) -> None:
    before = queue.dispatcher, queue.connection
    with Queue.fake():
        assert queue.dispatcher is not before[0]
    assert queue.dispatcher is before[0]


def test_what_is_no_job_is_refused() -> None:
    with Queue.fake() as fake, pytest.raises(TypeError, match="Expected a Job class, a @job function"):
        fake.assert_pushed(7)


def test_the_queue_can_be_inspected() -> None:
    with Queue.fake() as fake:
        sent = Ship.dispatch(1)
        Ship(2).with_delay(60).dispatch()
        Bill.dispatch(3)
        assert (Queue.size(), Queue.pending_size(), Queue.delayed_size(), Queue.reserved_size()) == (2, 1, 1, 0)
        (pending,) = Queue.pending_jobs()
        assert (pending.id, pending.name, pending.payload["kwargs"]["order_id"]) == (sent.id, Ship.job_name(), 1)
        assert Queue.size("money") == 1
        assert Queue.clear() == 2
        fake.assert_count(1)


def test_pushed_jobs_may_count_as_reserved() -> None:
    with Queue.fake() as fake:
        for order_id in (1, 2, 3):
            Ship.dispatch(order_id)
        assert fake.reserve(Ship(2)) == 1
        assert (Queue.pending_size(), Queue.reserved_size(), Queue.size()) == (2, 1, 3)
        assert [job.payload["kwargs"]["order_id"] for job in Queue.reserved_jobs()] == [2]
        assert fake.reserve() == 3
        assert Queue.reserved_size() == 3
        fake.clear_reserved()
        assert (Queue.pending_size(), Queue.reserved_size()) == (3, 0)


class Described(Job):
    order_id: int
    known_to = "the sender"

    def handle(self) -> None: ...


@pytest.mark.parametrize("restores", [True, False])
def test_a_recorded_job_is_the_one_a_worker_gets_if_that_is_asked_for(restores: bool) -> None:
    for facade in (Queue, Bus):
        fake: Any = facade.fake()
        with fake.serialize_and_restore() if restores else fake:
            job = Described(7)
            vars(job)["known_to"] = "this process"
            job.dispatch()
        recorded = fake.pushed(Described) if facade is Queue else fake.dispatched(Described)
        assert recorded == [Described(7)]
        assert recorded[0].known_to == ("the sender" if restores else "this process")


def test_hooks_around_each_push() -> None:
    seen: list[object] = []
    with Queue.fake() as fake:
        fake.before_pushing(lambda push: seen.append((push.job, len(fake.pushes()))))
        fake.after_pushing(lambda push: seen.append((push.queue, len(fake.pushes()))))
        Ship.dispatch(1)
    assert seen == [(Ship(1), 0), ("default", 1)]
