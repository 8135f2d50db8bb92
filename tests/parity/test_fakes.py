"""Testing"""

from __future__ import annotations

import pytest

from laraq import Bus, Job, Laraq, Queue
from laraq.errors import InvalidJobError, NotInQueueError

parity = pytest.mark.parity

ran: list[int] = []


class Faked(Job):
    n: int = 0

    def handle(self) -> None:
        ran.append(self.n)
        if self.n == 30:
            self.release(30)


class OneOfAKind(Faked):
    unique = True


class Untransportable(Job):
    thing: object

    def handle(self) -> None: ...


@parity("`Queue.fake()` records jobs instead of sending them, all or only some.")
def test_queue_fake() -> None:
    with Queue.fake(Faked) as fake:
        Faked.dispatch(1)
    fake.assert_pushed(Faked(1), times=1)
    fake.assert_not_pushed(OneOfAKind)
    assert ran == []


@parity("A delayed job counts as pushed, and links count by `assert_pushed_with_chain`.")
def test_delayed_and_chained() -> None:
    with Queue.fake() as fake:
        Faked(1).with_delay(60).with_chain([Faked(2)]).dispatch()
    fake.assert_pushed_with_chain(Faked(1), [Faked(2)])
    fake.assert_count(1)


@parity("A fake takes unique locks: a second unique job is not pushed; a new fake begins without locks.")
def test_unique_jobs() -> None:
    for _ in range(2):
        with Queue.fake() as fake:
            OneOfAKind.dispatch()
            OneOfAKind.dispatch()
        fake.assert_pushed_once(OneOfAKind)


@parity("`Bus.fake()` records jobs of every kind of dispatch, chains and batches.")
def test_bus_fake() -> None:
    with Bus.fake() as fake:
        Faked.dispatch_sync(1)
        Faked.dispatch_after_response(2)
        Bus.chain([Faked(3), Bus.batch([Faked(4)])]).dispatch()
        Bus.batch([Faked(5)]).dispatch()
    fake.assert_dispatched(Faked, times=3)
    fake.assert_dispatched_sync(Faked(1))
    fake.assert_dispatched_after_response(Faked(2))
    fake.assert_chained([Faked(3), Bus.chained_batch()])
    fake.assert_batched([Faked(5)])


@parity("A job called in a test can be asked whether it released, failed or deleted itself; without that it raises.")
def test_interactions() -> None:
    job = Faked(30).with_fake_queue_interactions()
    job.handle()
    job.assert_released(delay=30)
    job.assert_not_failed()
    with pytest.raises(NotInQueueError):
        Faked(30).handle()


@parity("A job can be given a batch in memory.")
def test_fake_batch() -> None:
    job, batch = Faked().with_fake_batch(total_jobs=2, pending_jobs=1)
    assert job.batch() is batch
    batch.cancel()
    assert (batch.cancelled, batch.processed_jobs) == (True, 1)


@parity(
    "A faked job passes everything before the queue: fields that could not travel fail the test.",
    differs="Laravel's fakes keep the object, unless `serializeAndRestore` is asked for.",
)
def test_real_codec() -> None:
    with Queue.fake(), pytest.raises(InvalidJobError):
        Untransportable.dispatch(object())


@parity(
    "`Queue.testing()` runs jobs in the test with retries, chains, batches and limits, on a clock that the test moves.",
    differs="Laravel's `sync` connection runs them at once: no delays, no retries.",
)
def test_drain(queue: Laraq) -> None:
    ran.clear()
    with Queue.testing() as testing:
        Faked(1).with_delay(60).dispatch()
        testing.drain()
        assert ran == []
        testing.travel(60)
        testing.drain()
    assert ran == [1]
