"""The state machine against a fake store, with a clock that moves when told."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from laraq_kombu import ACK_LINGER, Appetite, Feed, Job, Lease, Ledger, Polling, Taken
from laraq_kombu.feed import LINGER


class FakeStore:
    """Due times and attempts in a list; what it was asked is kept."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, int]] = []
        self.asked: list[tuple[list[int], int]] = []

    def step(self, acks: Sequence[Lease], queues: Sequence[str], limit: int, now: float) -> Taken:
        self.asked.append(([ack.id for ack in acks], limit))
        due = sorted(row for row in self.rows if row[0] <= now)[:limit]
        self.rows = [row for row in self.rows if row not in due]
        jobs = [Job(Lease(id, "q", 1, 0), "") for _, id in due]
        left = min((row[0] - now for row in self.rows), default=None)
        return Taken(jobs, None if len(jobs) >= limit else left)


class Worker:
    """Drives one feed as an event loop would."""

    def __init__(self, *, prefetch: int = 4, acks_ride_along: bool = True, hint_window: float = 0.0) -> None:
        self.now = 1000.0
        self.store = FakeStore()
        self.ledger = Ledger(clock=lambda: self.now)
        self.prefetch = prefetch
        self.running: list[Lease] = []
        self.feed = Feed(Polling(5.0, 20.0, hint_window), self.ledger, acks_ride_along=acks_ride_along)
        self.feed.queues.append("q")

    def turn(self) -> list[int]:
        """Ask while there is something to ask; the ids received."""
        got = []
        while ask := self.feed.next(self.now, self.prefetch, len(self.running)):
            taken = self.store.step(ask.acks, self.feed.queues, ask.limit, self.now)
            self.feed.answered(ask, taken, self.now)
            leases = [job.lease for job in taken.jobs]
            self.ledger.hold(leases)
            self.running += leases
            got += [lease.id for lease in leases]
        return got

    def finish(self, count: int) -> None:
        for lease in self.running[:count]:
            self.ledger.settle(lease.tag)
            self.feed.settled(self.now)
        del self.running[:count]

    def put(self, *ids: int, delay: float = 0) -> None:
        self.store.rows += [(self.now + delay, id) for id in ids]

    def wait(self) -> float | None:
        return self.feed.wait(self.now, self.prefetch, len(self.running))


def test_a_new_feed_asks_at_once() -> None:
    worker = Worker()
    worker.put(1, 2)
    assert worker.turn() == [1, 2]


def test_a_feed_without_queues_asks_nothing() -> None:
    worker = Worker()
    worker.feed.queues.clear()
    assert worker.turn() == []
    assert worker.store.asked == []
    assert worker.wait() is None


def test_an_empty_store_is_not_asked_again_before_the_poll() -> None:
    worker = Worker()
    worker.turn()
    worker.now += 4.9
    assert worker.turn() == []
    assert len(worker.store.asked) == 1
    assert worker.wait() == pytest.approx(0.1)
    worker.put(1)
    worker.now += 0.2
    assert worker.turn() == [1]


def test_the_pause_between_polls_doubles_up_to_its_limit_and_starts_over_with_a_job() -> None:
    worker = Worker()
    waits = []
    for _ in range(5):
        worker.turn()
        waits.append(worker.wait())
        worker.now += waits[-1] or 0
    assert waits == [5.0, 10.0, 20.0, 20.0, 20.0]
    worker.put(1)
    worker.turn()
    worker.finish(1)
    worker.now += 1
    worker.turn()
    assert worker.wait() == pytest.approx(5.0 - 1)


def test_a_hint_ends_the_wait() -> None:
    worker = Worker()
    worker.turn()
    worker.put(1)
    worker.feed.hint(worker.now)
    assert worker.wait() == 0
    assert worker.turn() == [1]


def test_a_hint_during_a_question_is_not_answered_by_its_answer() -> None:
    worker = Worker()
    ask = worker.feed.next(worker.now, 4, 0)
    assert ask is not None
    worker.feed.hint(worker.now)
    worker.feed.answered(ask, Taken(()), worker.now)
    assert worker.feed.appetite is Appetite.HUNGRY
    worker.put(1)
    assert worker.turn() == [1]


def test_a_hint_is_followed_by_one_more_look_for_those_left_out() -> None:
    worker = Worker(hint_window=0.03)
    worker.turn()
    worker.put(1)
    worker.feed.hint(worker.now)
    assert worker.turn() == [1]
    worker.put(2)  # its producer sent no hint, so shortly after the last
    assert worker.wait() == pytest.approx(0.03)
    worker.now += 0.031
    assert worker.turn() == [2]
    worker.turn()
    assert (worker.wait() or 0) > 1


def test_only_one_question_is_in_flight() -> None:
    worker = Worker()
    assert worker.feed.next(worker.now, 4, 0) is not None
    assert worker.feed.next(worker.now, 4, 0) is None
    assert worker.wait() is None


def test_a_due_time_is_an_exact_timer() -> None:
    worker = Worker()
    worker.put(1, delay=1.5)
    worker.turn()
    assert worker.wait() == pytest.approx(1.5)
    worker.now += 1.5
    assert worker.turn() == [1]


def test_a_full_answer_means_asking_again_once_there_is_room() -> None:
    worker = Worker(prefetch=2)
    worker.put(1, 2, 3)
    assert worker.turn() == [1, 2]
    assert worker.wait() is None
    worker.finish(1)
    assert worker.turn() == [3]


def test_no_credit_no_question_even_when_the_poll_is_due() -> None:
    worker = Worker(prefetch=1)
    worker.put(1)
    worker.turn()
    worker.now += 100
    assert worker.turn() == []
    assert len(worker.store.asked) == 1


def test_a_single_free_slot_beside_long_jobs_is_filled_after_the_linger() -> None:
    worker = Worker(prefetch=4)
    worker.put(*range(5))
    assert worker.turn() == [0, 1, 2, 3]
    worker.finish(1)
    assert worker.turn() == []
    assert worker.wait() == pytest.approx(LINGER)
    worker.now += LINGER
    assert worker.turn() == [4]


def test_acknowledgements_ride_along_with_the_next_reservation() -> None:
    worker = Worker(prefetch=2)
    worker.put(1, 2, 3, 4)
    worker.turn()
    worker.finish(2)
    worker.turn()
    assert worker.store.asked == [([], 2), ([1, 2], 2)]


def test_acknowledgements_go_alone_when_nothing_can_be_reserved() -> None:
    worker = Worker(prefetch=3)
    worker.put(1, 2, 3)
    worker.turn()
    worker.store.asked.clear()
    worker.finish(1)
    worker.feed.queues.clear()  # the consumer was cancelled
    assert worker.wait() == pytest.approx(ACK_LINGER)
    worker.now += ACK_LINGER
    worker.turn()
    assert worker.store.asked == [([1], 0)]


def test_acknowledgements_that_cost_a_round_trip_wait_for_the_linger() -> None:
    worker = Worker(prefetch=2, acks_ride_along=False)
    worker.put(*range(6))
    worker.turn()
    worker.finish(2)
    worker.turn()
    worker.finish(2)
    worker.turn()
    assert worker.store.asked == [([], 2)] * 3
    worker.finish(1)
    worker.now += ACK_LINGER
    worker.turn()
    assert worker.store.asked[3] == ([0, 1, 2, 3, 4], 1)


def test_a_failed_question_is_asked_again_with_its_acknowledgements() -> None:
    worker = Worker(prefetch=2)
    worker.put(1, 2)
    worker.turn()
    worker.finish(2)
    ask = worker.feed.next(worker.now, 2, 0)
    assert ask is not None
    worker.feed.failed(ask)
    assert worker.feed.next(worker.now, 2, 0) == ask


def test_no_job_is_ever_forgotten_whatever_the_order_of_events() -> None:
    worker = Worker(prefetch=3, hint_window=0.03)
    got: list[int] = []
    for id in range(300):
        worker.put(id, delay=(id * 7 % 5) * 0.3)
        if id % 3:
            worker.feed.hint(worker.now)
        got += worker.turn()
        worker.now += 0.011
        worker.finish(id % 4)
    while worker.store.rows:
        worker.finish(3)
        worker.now += worker.wait() or 0.0
        got += worker.turn()
    assert sorted(got) == list(range(300))
