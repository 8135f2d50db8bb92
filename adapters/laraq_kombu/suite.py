"""What every broker store must do: `class TestMyStore(ReservationsSuite, QueuesSuite, BindingsSuite)`."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import pytest

from laraq_kombu import SLOTS, Bindings, Job, JobStore, Lease, Posting, Put, QueueCount, Route, new_put

#: The `retry_after` of the stores under test, seconds.
RETRY_AFTER = 1.0


class BindingStore(JobStore, Bindings, Protocol):
    """One that keeps the bindings too."""


#: Opens one more store on the same, at first empty, database.
OpenStore = Callable[[], JobStore]
OpenBindingStore = Callable[[], BindingStore]


class StoreSuite:
    """The subclass provides the `open_store` fixture; stores it opened are closed after the test."""

    @pytest.fixture
    def open_store(self) -> OpenStore:
        """Overridden by the subclass."""
        raise pytest.UsageError(f"{type(self).__name__} needs an open_store fixture")

    @pytest.fixture
    def store(self, open_store: OpenStore) -> JobStore:
        """The store most tests use."""
        return open_store()


class ReservationsSuite(StoreSuite):
    """Leases."""

    def test_a_reserved_job_is_handed_out_once_and_counts_its_attempt(self, store: JobStore) -> None:
        store.put([Posting("q", "body")])
        (job,) = store.step((), ["q"], 10).jobs
        assert (job.payload, job.lease.queue, job.lease.attempts) == ("body", "q", 1)
        assert not store.step((), ["q"], 10).jobs

    def test_jobs_come_in_the_order_they_were_put(self, store: JobStore) -> None:
        store.put([Posting("q", str(n)) for n in range(50)])
        for n in range(50, 100):
            store.put([Posting("q", str(n))])
        assert [job.payload for n in range(4) for job in store.step((), ["q"], 25).jobs] == [str(n) for n in range(100)]

    def test_no_more_than_the_limit_is_reserved(self, store: JobStore) -> None:
        store.put([Posting("q", str(n)) for n in range(5)])
        assert len(store.step((), ["q"], 3).jobs) == 3
        assert store.count("q") == QueueCount(pending=2, delayed=0, reserved=3)

    def test_an_earlier_queue_is_emptied_before_a_later_one_is_touched(self, store: JobStore) -> None:
        store.put([Posting("low", "l"), Posting("high", "h1"), Posting("high", "h2")])
        assert [job.payload for job in store.step((), ["high", "low"], 2).jobs] == ["h1", "h2"]
        store.put([Posting("high", "h3")])
        assert [job.payload for job in store.step((), ["high", "low"], 2).jobs] == ["h3", "l"]

    def test_a_higher_priority_is_reserved_first_within_its_queue_only(self, store: JobStore) -> None:
        store.put([Posting("a", "a0"), Posting("b", "b9", priority=9), Posting("a", "a5", priority=5)])
        store.put([Posting("a", "a9", priority=9), Posting("a", "a5 too", priority=5)])
        jobs = [job for n in range(3) for job in store.step((), ["a", "b"], 2).jobs]
        assert [job.payload for job in jobs] == ["a9", "a5", "a5 too", "a0", "b9"]

    def test_an_acknowledged_job_is_gone(self, store: JobStore) -> None:
        store.put([Posting("q", "x"), Posting("q", "y")])
        first = store.step((), ["q"], 1).jobs
        second = store.step([job.lease for job in first], ["q"], 1).jobs
        assert [job.payload for job in second] == ["y"]
        store.step([job.lease for job in second], (), 0)
        assert store.count("q").total == 0

    def test_an_acknowledgement_may_come_twice(self, store: JobStore) -> None:
        store.put([Posting("q", "x")])
        (job,) = store.step((), ["q"], 1).jobs
        store.step([job.lease], (), 0)
        store.step([job.lease], (), 0)
        assert store.count("q").total == 0

    def test_a_lease_that_is_not_renewed_ends(self, store: JobStore) -> None:
        store.put([Posting("q", "x")])
        (first,) = store.step((), ["q"], 1).jobs
        (second,) = _await_jobs(store, "q", RETRY_AFTER + 2)
        assert (second.lease.id, second.lease.attempts) == (first.lease.id, 2)

    def test_a_renewed_lease_lasts_longer(self, store: JobStore) -> None:
        store.put([Posting("q", "x")])
        (job,) = store.step((), ["q"], 1).jobs
        until = time.monotonic() + RETRY_AFTER * 2
        while time.monotonic() < until:
            assert list(store.extend([job.lease])) == []
            assert not store.step((), ["q"], 1).jobs
            time.sleep(RETRY_AFTER / 5)

    def test_a_stale_owner_neither_renews_nor_gives_back(self, store: JobStore) -> None:
        store.put([Posting("q", "x"), Posting("q", "y")])
        old = [job.lease for job in store.step((), ["q"], 2).jobs]
        new = [job.lease for job in _await_jobs(store, "q", RETRY_AFTER + 2, count=2)]
        assert list(store.extend(old)) == old
        assert list(store.release(old)) == old
        assert list(store.extend(new)) == []

    def test_a_stale_owner_acknowledges_all_the_same_since_the_job_is_done(self, store: JobStore) -> None:
        store.put([Posting("q", "x")])
        (old,) = store.step((), ["q"], 1).jobs
        _await_jobs(store, "q", RETRY_AFTER + 2)
        store.step([old.lease], (), 0)
        assert store.count("q").total == 0

    def test_a_released_job_is_due_at_once_with_its_attempt_used(self, store: JobStore) -> None:
        store.put([Posting("q", "x")])
        (job,) = store.step((), ["q"], 1).jobs
        assert list(store.release([job.lease])) == []
        (again,) = _await_jobs(store, "q", 1)
        assert again.lease.attempts == 2

    def test_a_job_given_back_unused_does_not_count_its_attempt(self, store: JobStore) -> None:
        store.put([Posting("q", "x")])
        (job,) = store.step((), ["q"], 1).jobs
        store.release([job.lease], counted=False)
        (again,) = _await_jobs(store, "q", 1)
        assert again.lease.attempts == 1

    def test_an_owner_who_gave_back_unused_does_not_own_the_next_first_attempt(self, store: JobStore) -> None:
        store.put([Posting("q", "x")])
        (old,) = store.step((), ["q"], 1).jobs
        time.sleep(0.005)  # the same millisecond would be the same owner
        store.release([old.lease], counted=False)
        (new,) = _await_jobs(store, "q", 1)
        assert new.lease.attempts == old.lease.attempts
        assert list(store.extend([old.lease])) == [old.lease]

    def test_a_release_may_delay(self, store: JobStore) -> None:
        store.put([Posting("q", "x")])
        (job,) = store.step((), ["q"], 1).jobs
        store.release([job.lease], delay=60)
        assert not store.step((), ["q"], 1).jobs
        assert store.count("q") == QueueCount(pending=0, delayed=1, reserved=0)

    def test_a_short_step_says_when_the_next_job_is_due(self, store: JobStore) -> None:
        store.put(
            [Posting("other", "x", delay=1), Posting("q", "y", delay=30), Posting("q", "z", priority=3, delay=60)]
        )
        taken = store.step((), ["q"], 1)
        assert not taken.jobs
        assert taken.next_due == pytest.approx(30, abs=2)

    def test_the_end_of_a_lease_is_a_due_time(self, store: JobStore) -> None:
        store.put([Posting("q", "x")])
        taken = store.step((), ["q"], 2)
        assert len(taken.jobs) == 1
        assert taken.next_due == pytest.approx(RETRY_AFTER, abs=0.5)

    def test_a_step_over_empty_queues_knows_no_due_time(self, store: JobStore) -> None:
        taken = store.step((), ["q", "r"], 5)
        assert (list(taken.jobs), taken.next_due) == ([], None)

    def test_workers_at_once_reserve_each_job_once(self, open_store: OpenStore) -> None:
        store, total, workers = open_store(), 400, 4
        store.put([Posting("q", str(n)) for n in range(total)])
        gate = threading.Barrier(workers)
        stores = [open_store() for _ in range(workers)]

        def work(mine: JobStore) -> list[str]:
            gate.wait()
            payloads, acks = [], list[Lease]()
            while jobs := mine.step(acks, ["q"], 7).jobs:
                payloads += [job.payload for job in jobs]
                acks = [job.lease for job in jobs]
            mine.step(acks, (), 0)
            return payloads

        with ThreadPoolExecutor(workers) as pool:
            done = [payload for payloads in pool.map(work, stores) for payload in payloads]
        assert sorted(done, key=int) == [str(n) for n in range(total)]
        assert store.count("q").total == 0

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    def test_a_forked_child_opens_its_own_connections(self, store: JobStore) -> None:
        store.put([Posting("q", "x")])
        child = os.fork()
        if not child:
            status = 1
            try:
                (job,) = store.step((), ["q"], 1).jobs
                store.put([Posting("q", f"{job.payload} from the child")])
                status = 0
            except BaseException:
                traceback.print_exc(file=sys.__stderr__)
            os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        (job,) = _await_jobs(store, "q", 1)
        assert job.payload == "x from the child"


class QueuesSuite(StoreSuite):
    """Putting, taking, counting."""

    def test_any_text_comes_back_as_it_was(self, store: JobStore) -> None:
        texts = ["", "ä€😀", "'\"\\%s\n\x01", "x" * 300_000]
        store.put([Posting("q", text) for text in texts])
        assert [job.payload for job in store.step((), ["q"], 10).jobs] == texts

    def test_names_of_queues_differ_in_case_and_accents(self, store: JobStore) -> None:
        store.put([Posting("Mails", "1"), Posting("mails", "2"), Posting("mäils", "3")])
        assert [job.payload for job in store.step((), ["mails"], 10).jobs] == ["2"]
        assert [job.payload for job in store.step((), ["mäils"], 10).jobs] == ["3"]

    def test_a_delayed_job_waits_and_is_exact(self, store: JobStore) -> None:
        store.put([Posting("q", "x", delay=0.5)])
        assert store.count("q") == QueueCount(pending=0, delayed=1, reserved=0)
        taken = store.step((), ["q"], 1)
        assert not taken.jobs
        assert taken.next_due is not None
        time.sleep(taken.next_due + 0.002)
        assert [job.payload for job in store.step((), ["q"], 1).jobs] == ["x"]

    def test_a_delay_of_years_is_kept(self, store: JobStore) -> None:
        year = 365 * 86400.0
        store.put([Posting("q", "x", delay=10 * year)])
        assert store.step((), ["q"], 1).next_due == pytest.approx(10 * year, rel=0.01)

    def test_a_taken_job_is_gone(self, store: JobStore) -> None:
        store.put([Posting("q", "x"), Posting("q", "y", priority=1), Posting("r", "z")])
        assert [job.payload for job in store.take(["r", "q"], 2).jobs] == ["z", "y"]
        assert [job.payload for job in store.take(["r", "q"], 2).jobs] == ["x"]
        assert not store.take(["r", "q"], 2).jobs

    def test_a_purge_spares_what_somebody_works_on(self, store: JobStore) -> None:
        store.put([Posting("q", "1"), Posting("q", "2"), Posting("q", "3", delay=60), Posting("r", "4")])
        store.step((), ["q"], 1)
        assert store.purge("q") == 2
        assert store.count("q") == QueueCount(pending=0, delayed=0, reserved=1)
        assert store.count("r").total == 1

    def test_the_same_put_is_done_once(self, store: JobStore, open_store: OpenStore) -> None:
        put, other = new_put(), new_put()
        store.put([Posting("q", "1"), Posting("q", "2", delay=60)], put)
        (job,) = store.take(["q"], 5).jobs
        assert job.payload == "1"
        again = open_store()
        again.put([Posting("q", "1"), Posting("q", "2", delay=60)], put)
        again.put([Posting("q", "1")], other)
        assert store.count("q") == QueueCount(pending=1, delayed=1, reserved=0)

    def test_a_later_put_takes_the_place_of_one_that_nobody_asks_for_any_more(self, store: JobStore) -> None:
        writer = new_put().writer + 1
        for number in (1, 1 + SLOTS, 1 + 2 * SLOTS, 1 + 2 * SLOTS):
            store.put([Posting("q", str(number))], Put(writer, number))
        assert store.count("q").total == 3

    def test_an_unknown_queue_is_empty(self, store: JobStore) -> None:
        assert store.count("nobody") == QueueCount(0, 0, 0)
        assert store.purge("nobody") == 0


class BindingsSuite(StoreSuite):
    """Bindings."""

    def test_a_route_is_seen_by_everybody(self, open_store: OpenBindingStore) -> None:
        route = Route("x", "key", "^key$", "q")
        open_store().bind(route, None)
        assert list(open_store().routes("x")) == [route]
        assert list(open_store().routes("y")) == []

    def test_binding_twice_is_binding_once(self, store: BindingStore) -> None:
        store.bind(Route("x", "", "", "q"), 60)
        store.bind(Route("x", "", "", "q"), None)
        assert list(store.routes("x")) == [Route("x", "", "", "q")]

    def test_unbinding_drops_the_queue(self, store: BindingStore) -> None:
        store.bind(Route("x", "a", "", "q"), None)
        store.bind(Route("y", "b", "", "q"), None)
        store.put([Posting("q", "1")])
        store.unbind("q")
        assert [*store.routes("x"), *store.routes("y")] == []
        assert store.count("q").total == 0

    def test_an_expired_route_is_not_seen_and_swept_with_its_jobs(self, store: BindingStore) -> None:
        store.bind(Route("x", "", "", "brief"), 0.05)
        store.bind(Route("x", "", "", "lasting"), None)
        store.bind(Route("x", "", "", "long"), 60)
        store.put([Posting("brief", "1"), Posting("lasting", "2"), Posting("long", "3")])
        time.sleep(0.1)
        assert {route.queue for route in store.routes("x")} == {"lasting", "long"}
        assert store.sweep() == 1
        assert [store.count(queue).total for queue in ("brief", "lasting", "long")] == [0, 1, 1]
        assert store.sweep() == 0

    def test_a_renewed_route_lives_on(self, store: BindingStore) -> None:
        store.bind(Route("x", "", "", "brief"), 0.2)
        store.bind(Route("x", "", "", "lasting"), None)
        store.renew(["brief", "lasting"], 60)
        time.sleep(0.3)
        assert {route.queue for route in store.routes("x")} == {"brief", "lasting"}
        assert store.sweep() == 0


def _await_jobs(store: JobStore, queue: str, patience: float, count: int = 1) -> list[Job]:
    deadline = time.monotonic() + patience
    found: list[Any] = []
    while len(found) < count:
        assert time.monotonic() < deadline, f"no job within {patience} s"
        found += store.step((), [queue], count).jobs
        time.sleep(0.01)
    return found
