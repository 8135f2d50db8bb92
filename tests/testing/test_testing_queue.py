"""Queue.testing(): jobs run in the test by the true runner, on a clock that the test moves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from laraq import Bus, Job, Limit, Queue, RateLimited, RateLimiter, WithoutOverlapping, dispatch
from laraq.errors import MaxAttemptsExceededError
from laraq.process import clock
from laraq.testing import TestingQueue
from tests.testing.jobs import Bill, Flaky, Once, Ship, finally_, ran, then, welcome


def test_nothing_runs_before_the_test_says_so() -> None:
    with Queue.testing() as queue:
        Ship.dispatch(1)
        welcome.dispatch("ada")
        assert ran == []
        assert queue.waiting == [Ship(1), welcome.job("ada")]
        assert queue.drain() == 2
        assert ran == [1, "welcome ada"]
        assert (queue.size, queue.drain()) == (0, 0)
    assert queue.has_run(Ship) == 1


def test_one_job_at_a_time() -> None:
    with Queue.testing() as queue:
        Bus.bulk([Ship(1), Ship(2)])
        assert queue.work_one()
        assert ran == [1]
        assert queue.work_one()
        assert not queue.work_one()


def test_a_delay_is_over_when_the_clock_says_so() -> None:
    with Queue.testing() as queue:
        Ship(1).with_delay(60).dispatch()
        Ship(2).with_delay(clock.moment() + timedelta(hours=2)).dispatch()
        assert queue.drain() == 0
        queue.travel(61)
        assert queue.drain() == 1
        queue.travel_to(datetime.now(UTC) + timedelta(hours=3))
        assert queue.drain() == 1
    assert ran == [1, 2]
    assert abs(clock.now() - time.time()) < 1, "the clock is the system's again"


def test_a_retry_waits_for_its_backoff() -> None:
    with Queue.testing() as queue:
        Flaky.dispatch(succeeds_at=2)
        assert queue.drain() == 1
        queue.travel(10)
        assert queue.drain() == 1
    assert ran == [1, 2]
    assert queue.failed == []


def test_with_delayed_everything_that_waits_is_run() -> None:
    with Queue.testing() as queue:
        Flaky.dispatch(succeeds_at=3)
        Ship(1).with_delay(timedelta(days=1)).dispatch()
        assert queue.drain(delayed=True) == 4
    assert ran == [1, 2, 3, 1]


def test_what_fails_for_good_is_raised_or_kept() -> None:
    with Queue.testing() as queue:
        Flaky.dispatch(succeeds_at=9)
        with pytest.raises(ValueError, match="start 3"):
            queue.drain(delayed=True)
        Flaky.dispatch(succeeds_at=9)
        queue.drain(delayed=True, raise_failed=False)
        assert len(queue.failed) == 2
    assert [failed.job for failed in queue.failed] == [Flaky.job_name()] * 2


def test_a_chain_and_a_batch_with_callbacks() -> None:
    with Queue.testing() as queue:
        Bus.chain([Ship(1), Bus.batch([Ship(2), [Ship(3), Bill(4)]]).then(then).finally_(finally_), Ship(5)]).dispatch()
        queue.drain()
    assert ran[:1] == [1]
    assert sorted(map(str, ran)) == sorted(["1", "2", "3", "bill 4", "then 3/3", "finally", "5"])
    assert ran.index("then 3/3") < ran.index("finally")


def test_a_batch_with_a_failure_is_cancelled() -> None:
    with Queue.testing() as queue:
        batch = Bus.batch([Flaky(succeeds_at=9), Ship(1)]).then(then).finally_(finally_).dispatch()
        queue.drain(raise_failed=False, delayed=True)
        batch = batch.fresh()
        assert (batch.failed_jobs, batch.cancelled, batch.finished) == (1, True, True)
    assert "finally" in ran
    assert "then 1/2" not in ran


def test_a_unique_job_may_be_sent_again_when_it_has_run() -> None:
    with Queue.testing() as queue:
        assert not Once.dispatch().skipped
        assert Once.dispatch().skipped
        queue.drain()
        assert not Once.dispatch().skipped


class Limited(Job):
    n: int

    tries = 0

    def middleware(self) -> list[object]:
        return [RateLimited("testing")]

    def handle(self) -> None:
        ran.append(self.n)


class Parked(Limited):
    def middleware(self) -> list[object]:
        return [RateLimited("testing").park()]


@pytest.mark.parametrize("kind", [Limited, Parked])
def test_limits_go_by_the_clock_of_the_test(kind: type[Limited]) -> None:
    RateLimiter.for_("testing", lambda job: Limit(2, 3600))
    with Queue.testing() as queue:
        Bus.bulk([kind(n) for n in range(5)])
        queue.drain()
        assert len(ran) == 2
        queue.travel(3600)
        queue.drain()
        assert len(ran) == 4
        queue.drain(delayed=True)
        assert len(ran) == 5


class Inside(Job):
    n: int

    def middleware(self) -> list[object]:
        return [WithoutOverlapping("testing").park()]

    def handle(self) -> None:
        ran.append(self.n)
        if self.n == 0:
            Inside.dispatch(1)
            Queue.assert_inner()  # type: ignore[attr-defined] # raises: there is no fake


def test_jobs_may_send_jobs_and_errors_reach_the_test() -> None:
    with Queue.testing() as queue:
        Inside.dispatch(0)
        with pytest.raises(RuntimeError, match="needs a fake"):
            queue.drain()
        queue.drain()
    assert ran == [0, 1]


class Endless(Job):
    def handle(self) -> None:
        Endless.dispatch()


def test_a_job_that_sends_itself_for_ever_ends_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("laraq.testing.testing_queue.MOST", 50)
    with Queue.testing() as queue:
        Endless.dispatch()
        with pytest.raises(RuntimeError, match="has run 50 jobs and more are due"):
            queue.drain()


def test_retry_until_is_over_on_the_clock_of_the_test() -> None:
    class Dated(Flaky):
        def retry_until(self) -> timedelta:
            return timedelta(hours=1)

    with Queue.testing() as queue:
        Dated.dispatch(succeeds_at=9)
        queue.drain()
        queue.travel(timedelta(hours=2))
        with pytest.raises((ValueError, MaxAttemptsExceededError)):
            queue.drain()


def test_a_sync_dispatch_runs_at_once_and_a_closure_when_drained() -> None:
    with Queue.testing() as queue:
        Ship.dispatch_sync(1)
        assert ran == [1]
        dispatch(_greet)
        queue.drain()
    assert ran == [1, "hello"]


def _greet() -> None:
    ran.append("hello")


@pytest.mark.parametrize(
    "act",
    [lambda queue: queue.drain(), lambda queue: queue.travel(60), lambda queue: queue.travel_to(datetime.now(UTC))],
)
def test_outside_of_its_block_it_says_so(act: Callable[[TestingQueue], object]) -> None:
    with pytest.raises(RuntimeError, match=r"with Queue.testing\(\) as queue"):
        act(Queue.testing())
    assert clock.ahead() == 0


def test_a_moment_without_a_time_zone_is_refused() -> None:
    with Queue.testing() as queue, pytest.raises(ValueError, match="needs an aware datetime"):
        queue.travel_to(datetime(2040, 1, 1))


class Async(Job):
    async def handle(self) -> None:
        await asyncio.sleep(0)
        ran.append("async")


def test_async_jobs_are_run_in_an_async_test_too() -> None:
    async def test() -> None:
        with Queue.testing() as queue:
            await Async().adispatch()
            assert queue.drain() == 1

    asyncio.run(test())
    assert ran == ["async"]


def test_the_queue_can_be_inspected_and_cleared() -> None:
    with Queue.testing() as queue:
        Ship.dispatch(1)
        Ship(2).with_delay(60).dispatch()
        Bill.dispatch(3)
        Once.dispatch()
        assert (Queue.size(), Queue.pending_size(), Queue.delayed_size("default")) == (3, 2, 1)
        assert [job.name for job in Queue.pending_jobs("money")] == [Bill.job_name()]
        assert Queue.clear() == 3
        assert queue.waiting == [Bill(3)]
        assert not Once.dispatch().skipped, "its lock was released"


def test_it_is_used_once_at_a_time() -> None:
    with Queue.testing() as queue, pytest.raises(RuntimeError, match="in use already"), queue:
        pass
