"""What users write and both type checkers accept; never imported, only checked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, assert_type
from unittest import IsolatedAsyncioTestCase, TestCase

from laraq import Backoff, Batch, Bus, Dispatched, Injected, Job, Queue, dispatch, injected, job
from laraq.testing import BusFakeMixin, LaraqTestingMixin, QueueFakeMixin
from laraq.workflow.batch import PendingBatch
from laraq.workflow.chains import PendingChain


class Mailer:
    pass


class Level(Enum):
    HIGH = "high"


class ProcessPodcast(Job):
    podcast: int
    bitrate: int = 128

    queue = "podcasts"
    tries = 5
    backoff = [1, 5, 10]
    timeout = timedelta(minutes=2)

    def middleware(self) -> list[Any]:
        return []

    def handle(self, mailer: Mailer) -> None:
        assert_type(self.podcast, int)
        assert_type(self.attempts, int)
        self.release(timedelta(seconds=5))
        self.fail("enough")
        self.delete()
        self.prepend_to_chain(HighBitrate(1), [tidy_up, send_welcome.job(1)])
        self.append_to_chain(Computed)
        assert_type(self.batch(), Batch | None)

    def failed(self, error: BaseException | None) -> None: ...


class Computed(Job):
    podcast: int

    def tries(self) -> int:
        return self.podcast

    def backoff(self) -> Backoff:
        return Backoff.exponential(2, cap=timedelta(minutes=10))

    def retry_until(self) -> datetime:
        return datetime.now(UTC)

    async def handle(self) -> int:
        return self.podcast


class HighBitrate(ProcessPodcast):
    channels: int = 2


@job
def tidy_up() -> None: ...


@job(queue="emails", tries=3, unique=True)
def send_welcome(user_id: int, mailer: Injected[Mailer] = injected(), *, loud: bool = False) -> str:  # noqa: B008 - as documented
    return f"{user_id} {mailer} {loud}"


def on_error(error: BaseException) -> None: ...


def on_batch(batch: Batch) -> None: ...


async def use_them() -> None:
    assert_type(ProcessPodcast(1).bitrate, int)
    assert_type(ProcessPodcast(1, bitrate=64), ProcessPodcast)
    assert_type(HighBitrate(1, 64, channels=1), HighBitrate)

    assert_type(ProcessPodcast.dispatch(1), Dispatched)
    assert_type(ProcessPodcast.dispatch(1, 64), Dispatched)
    assert_type(ProcessPodcast.dispatch(podcast=1, bitrate=64), Dispatched)
    assert_type(HighBitrate.dispatch(1, channels=1), Dispatched)
    assert_type(await ProcessPodcast.adispatch(1), Dispatched)
    assert_type(ProcessPodcast.dispatch_after_response(1), Dispatched)
    ProcessPodcast.dispatch_sync(1)
    assert_type(ProcessPodcast.dispatch_if(True, 1, bitrate=64), Dispatched | None)
    assert_type(ProcessPodcast.dispatch_unless(True, 1), Dispatched | None)
    assert_type(ProcessPodcast.dispatch_if(lambda job: bool(job), 1), Dispatched | None)
    assert_type(ProcessPodcast(1).on_queue("high").dispatch_if(True), Dispatched | None)
    assert_type(ProcessPodcast(1).dispatch_unless(lambda: False), Dispatched | None)
    ProcessPodcast(1).on_queue(Level.HIGH).with_tags("a", Level.HIGH).s()
    ProcessPodcast(1).apply_async(countdown=10)
    ProcessPodcast(1).delay(60).dispatch()
    ProcessPodcast.delay(1, bitrate=64)
    ProcessPodcast.apply_async((1,), {"bitrate": 64}, countdown=10)

    assert_type(ProcessPodcast(1).on_queue("high"), ProcessPodcast)
    assert_type(ProcessPodcast(1).dispatch(), Dispatched)
    assert_type(ProcessPodcast(1).on_queue("high").dispatch(), Dispatched)
    assert_type(
        ProcessPodcast(1).on_connection("redis").with_delay(timedelta(hours=1)).after_commit().dispatch(), Dispatched
    )
    assert_type(await ProcessPodcast(1).on_queue("high").adispatch(), Dispatched)
    ProcessPodcast(1).on_queue("high").dispatch_sync()
    ProcessPodcast(1).dispatch_after_response()

    assert_type(send_welcome(1, Mailer(), loud=True), str)
    assert_type(send_welcome.dispatch(1), Dispatched)
    assert_type(send_welcome.dispatch(user_id=1, loud=True), Dispatched)
    assert_type(await send_welcome.adispatch(1), Dispatched)
    assert_type(send_welcome.dispatch_if(True, 1), Dispatched | None)
    assert_type(send_welcome.dispatch_if(lambda: True, 1), Dispatched | None)
    assert_type(send_welcome.name, str)
    send_welcome.apply((1,))
    send_welcome.signature((1,), countdown=5)
    send_welcome.delay(1)
    send_welcome.apply_async((1,), countdown=10)
    send_welcome.job(1).on_queue("low").dispatch()
    assert_type(tidy_up.dispatch(), Dispatched)

    assert_type(dispatch(ProcessPodcast(1)), Dispatched)
    dispatch(send_welcome)
    dispatch(lambda: None)
    Bus.bulk([ProcessPodcast(1), HighBitrate(2)])
    Bus.bulk(ProcessPodcast(number) for number in range(3))

    chain = Bus.chain([ProcessPodcast(1), Computed, tidy_up, send_welcome.job(1), send_welcome.s(1), on_error, None])
    assert_type(chain, PendingChain)
    assert_type(chain.on_queue("low").on_connection("redis").with_delay(5).catch(on_error), PendingChain)
    assert_type(chain.all_on_queue("q").all_on_connection("c").after_commit().prepend(tidy_up), PendingChain)
    assert_type(chain.append([Computed(1)]).when(True, lambda it: it.catch(tidy_up)), PendingChain)
    assert_type(chain.dispatch(), Dispatched)
    assert_type(await chain.adispatch(), Dispatched)
    assert_type(chain.dispatch_if(True), Dispatched | None)
    assert_type(ProcessPodcast.with_chain([HighBitrate(1)]), PendingChain)
    assert_type(ProcessPodcast.with_chain([HighBitrate(1)]).catch(on_error).dispatch(1, bitrate=64), Dispatched)
    assert_type(ProcessPodcast(1).with_chain([HighBitrate(1)]), ProcessPodcast)
    assert_type(ProcessPodcast(1).with_chain([HighBitrate(1)]).all_on_queue("low").dispatch(), Dispatched)

    pending = Bus.batch([ProcessPodcast(1), [HighBitrate(1), tidy_up], Bus.chain([Computed(1)]), send_welcome.s(1)])
    assert_type(pending, PendingBatch)
    assert_type(pending.name("x").before(on_batch).progress(tidy_up).then(on_batch).catch(on_error), PendingBatch)
    assert_type(pending.finally_(on_batch).allow_failures([on_batch]).with_option("k", 1), PendingBatch)
    assert_type(pending.on_queue("q").on_connection("c").after_commit().add(Computed(1)), PendingBatch)
    batch = pending.dispatch()
    assert_type(batch, Batch)
    assert_type(await pending.adispatch(), Batch)
    assert_type(Bus.batch(ProcessPodcast(number) for number in range(3)).dispatch_unless(False), Batch | None)
    assert_type(Bus.batch(ProcessPodcast(1)).dispatch(), Batch)
    assert_type(Bus.find_batch(batch.id), Batch | None)
    assert_type(batch.add([Computed(1)]), Batch)
    assert_type(batch.wait(timeout=5, progress=lambda it: print(it.progress)), Batch)
    assert_type((batch.id, batch.total_jobs, batch.failed_job_ids), tuple[str, int, list[str]])
    assert_type((batch.progress, batch.finished, batch.created_at), tuple[int, bool, datetime | None])
    Bus.chain([ProcessPodcast(1), Bus.batch([Computed(1)])]).dispatch()


def test_with_fakes() -> None:
    with Queue.fake([ProcessPodcast]).except_(HighBitrate) as fake:
        fake.assert_pushed(ProcessPodcast, lambda job: job.podcast == 1 and job.bitrate)
        fake.assert_pushed(ProcessPodcast(1), times=2)
        fake.assert_pushed(send_welcome)
        fake.assert_pushed("elsewhere.task", lambda task: task.args == (1,))
        fake.assert_pushed(lambda job: job.whatever, 3)
        fake.assert_pushed_with_chain(ProcessPodcast, [HighBitrate, Bus.chained_batch(lambda batch: batch.label)])
        assert_type(fake.pushed(ProcessPodcast), list[ProcessPodcast])
    with Bus.fake() as bus:
        bus.assert_dispatched(ProcessPodcast, lambda job: job.podcast)
        bus.assert_batched(lambda batch: batch.label == "x")
        assert_type(bus.dispatched(HighBitrate), list[HighBitrate])
    with Queue.testing() as queue:
        assert_type(queue.drain(), int)
    job, batch = ProcessPodcast(1).with_fake_batch(total_jobs=2)
    assert_type(job, ProcessPodcast)
    assert_type(batch.added, list[Any])
    assert_type(ProcessPodcast(1).with_fake_queue_interactions(), ProcessPodcast)


class PodcastTest(QueueFakeMixin, BusFakeMixin, TestCase):
    def test_it(self) -> None:
        self.queue_fake.assert_pushed(ProcessPodcast, lambda job: job.podcast == 1)
        assert_type(self.bus_fake.dispatched(HighBitrate), list[HighBitrate])


class DrainTest(LaraqTestingMixin, IsolatedAsyncioTestCase):
    async def test_it(self) -> None:
        assert_type(self.laraq_testing.drain(), int)


@Queue.fake()
async def an_async_test(number: int) -> str:
    return str(number)


async def of_an_async_test() -> None:
    assert_type(await an_async_test(1), str)
