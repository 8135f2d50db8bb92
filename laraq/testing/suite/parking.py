"""ParkingSuite: what every Parking must do."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from functools import partial

import pytest

from laraq.ports import HAND_OVER, Demand, Line, ParkedJob, Store
from laraq.testing.suite.board import Board
from laraq.testing.suite.forking import Child, eventually, in_children

#: Seconds no test takes to end.
LONG = 60.0
#: Seconds of a lease, or of a window, whose end a test waits for.
SHORT = 0.4
#: Seconds of a window in which several jobs are parked, on a slow machine too, and whose end a test waits for.
WINDOW = 1.0
#: Seconds of a window that ends once in 31 years.
AGES = 1e9
#: How many compete.
PROCESSES = 4

LOCK = Line("app", "lock")
LIMIT = Line("app", None, ("limit",))


def waiting(owner: str, line: Line = LOCK, *demands: Demand, since: int = 0) -> ParkedJob:
    """A job to park."""
    return ParkedJob(line, owner, f"message of {owner}\n", since, demands)


def limited(owner: str, maximum: int, seconds: float = AGES, cost: int = 1, since: int = 0) -> ParkedJob:
    """A job to park that waits for the limit."""
    return waiting(owner, LIMIT, Demand("limit", maximum, seconds, cost), since=since)


def owners(jobs: Iterable[ParkedJob]) -> str:
    """Who was called."""
    return "".join(job.owner for job in jobs)


def use_up(store: Store, key: str, maximum: int, seconds: float) -> None:
    """Use a limit up, and early in one of its windows."""
    while (
        not store.limits.take([Demand(key, maximum, seconds, maximum)])
        or store.limits.usage(key).ends_in < 0.75 * seconds
    ):
        time.sleep(store.limits.usage(key).ends_in)


def freed(store: Store, owner: str) -> tuple[bool, str]:
    """Whether the owner held the lock, and who was called."""
    held, called = store.parking.free(LOCK, owner)
    return held, owners(called)


def nothing_due(store: Store) -> bool:
    """Whether nobody waits."""
    lines, left = store.parking.due("app")
    return not lines and left is None


class ParkingSuite:
    """Subclass it as `class TestMyParking(ParkingSuite)` and override the fixture `store`.

    It tests what one process sees; take SharedParkingSuite when several processes see the same store.
    """

    @pytest.fixture
    def store(self) -> Store:
        """An empty, migrated Store; close it after the `yield`."""
        pytest.fail("Override the fixture `store` to give an empty, migrated Store.")

    @pytest.fixture(autouse=True)
    def looks_often(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        """So that no test takes long."""
        monkeypatch.setattr(store.parking, "look", SHORT)

    # A lock

    def test_who_frees_the_lock_calls_the_first_in_line(self, store: Store) -> None:
        store.locks.acquire("lock", "holder", LONG)
        for owner in "abc":
            assert not store.parking.park(waiting(owner))
        assert store.parking.count(LOCK) == 3
        held, called = store.parking.free(LOCK, "holder")
        assert (held, owners(called), called[0].message) == (True, "a", "message of a\n")
        assert store.parking.count(LOCK) == 2

    def test_they_are_called_in_the_order_they_came(self, store: Store) -> None:
        store.locks.acquire("lock", "holder", LONG)
        for owner in "abcdefgh":
            store.parking.park(waiting(owner))
        holder, order = "holder", ""
        for _ in range(8):
            called = store.parking.free(LOCK, holder)[1]
            store.parking.sent(called)
            holder = owners(called)
            order += holder
        assert order == "abcdefgh"
        assert freed(store, holder) == (True, "")
        assert store.locks.owner("lock") is None

    def test_who_is_called_holds_the_lock_until_it_may_have_arrived(self, store: Store) -> None:
        store.locks.acquire("lock", "holder", LONG)
        store.parking.park(waiting("a"))
        store.parking.free(LOCK, "holder")
        assert store.locks.acquire("lock", "newcomer", LONG) is False
        assert store.locks.acquire("lock", "a", LONG) is True
        store.parking.park(waiting("b"))
        store.parking.free(LOCK, "a")
        assert eventually(lambda: store.locks.acquire("lock", "newcomer", LONG), 2 * HAND_OVER)

    def test_a_place_in_line_is_kept_by_who_comes_back(self, store: Store) -> None:
        store.locks.acquire("lock", "holder", LONG)
        for owner in "ab":
            store.parking.park(waiting(owner))
        store.parking.park(waiting("a"))
        assert store.parking.count(LOCK) == 2
        (called,) = store.parking.free(LOCK, "holder")[1]
        store.parking.sent([called])
        store.parking.free(LOCK, "a")
        store.locks.force_release("lock")
        store.locks.acquire("lock", "holder", LONG)
        for owner in "cd":
            store.parking.park(waiting(owner))
        store.parking.park(waiting("a", since=called.since))
        assert owners(store.parking.free(LOCK, "holder")[1]) == "a"

    def test_a_job_that_is_parked_again_has_its_latest_message(self, store: Store) -> None:
        store.locks.acquire("lock", "holder", LONG)
        store.parking.park(waiting("a"))
        store.parking.park(ParkedJob(LOCK, "a", "later"))
        assert [job.message for job in store.parking.free(LOCK, "holder")[1]] == ["later"]

    def test_who_parks_when_the_lock_is_free_is_called_at_once(self, store: Store) -> None:
        assert owners(store.parking.park(waiting("a"))) == "a"

    def test_a_lease_that_is_lost_frees_nothing(self, store: Store) -> None:
        store.locks.acquire("lock", "another", LONG)
        store.parking.park(waiting("a"))
        assert freed(store, "holder") == (False, "")
        assert store.locks.owner("lock") == "another"
        assert store.parking.count(LOCK) == 1

    def test_who_ends_is_in_line_no_more(self, store: Store) -> None:
        store.locks.acquire("lock", "holder", LONG)
        store.parking.park(waiting("holder"))
        assert freed(store, "holder") == (True, "")
        assert store.parking.count(LOCK) == 0

    def test_the_end_of_a_dead_holders_lease_makes_the_line_due(self, store: Store) -> None:
        store.locks.acquire("lock", "killed", SHORT)
        store.parking.park(waiting("a"))
        lines, left = store.parking.due("app")
        assert list(lines) == []
        assert left is not None
        assert 0 < left <= SHORT
        assert eventually(lambda: list(store.parking.due("app")[0]) == [LOCK])
        assert owners(store.parking.call(LOCK)) == "a"

    def test_a_lock_that_was_freed_by_others_is_noticed(self, store: Store) -> None:
        store.locks.acquire("lock", "knows nothing", LONG)
        store.parking.park(waiting("a"))
        store.locks.release("lock", "knows nothing")
        assert eventually(lambda: list(store.parking.due("app")[0]) == [LOCK], 2 * SHORT + 1)
        assert owners(store.parking.call(LOCK)) == "a"

    def test_a_line_that_is_not_due_calls_nobody(self, store: Store) -> None:
        store.locks.acquire("lock", "knows nothing", LONG)
        store.parking.park(waiting("a"))
        store.locks.release("lock", "knows nothing")
        assert not store.parking.call(LOCK)

    def test_nothing_is_due_where_nobody_waits(self, store: Store) -> None:
        assert nothing_due(store)
        assert not store.parking.call(LOCK)
        store.locks.acquire("lock", "holder", LONG)
        store.parking.park(waiting("a"))
        store.parking.sent(store.parking.free(LOCK, "holder")[1])
        assert eventually(lambda: not store.parking.call(LOCK) and nothing_due(store), 2 * SHORT + 1)

    def test_homes_see_their_own_lines(self, store: Store) -> None:
        other = Line("another app", "lock")
        store.locks.acquire("lock", "holder", LONG)
        store.parking.park(waiting("a", other))
        assert nothing_due(store)
        assert store.parking.due("another app")[1] is not None
        assert freed(store, "holder") == (True, "")

    # Who was called is kept until it was sent

    def test_all_who_wait_are_listed_and_nobody_who_was_called(self, store: Store) -> None:
        store.locks.acquire("lock", "holder", LONG)
        store.limits.take([Demand("limit", 1, AGES, 1)])
        for owner in "abc":
            store.parking.park(waiting(owner))
        store.parking.park(limited("d", 1))
        store.parking.park(waiting("e", Line("other", "lock")))
        store.parking.free(LOCK, "holder")
        listed = list(store.parking.waiting("app"))
        assert {job.line: owners(each for each in listed if each.line == job.line) for job in listed} == {
            LOCK: "bc",
            LIMIT: "d",
        }
        assert listed[0].message.endswith(f" of {listed[0].owner}\n")
        assert list(store.parking.waiting("nobody")) == []

    def test_who_was_called_and_not_sent_is_called_again(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(store.parking, "call_again", SHORT)
        store.locks.acquire("lock", "holder", LONG)
        store.parking.park(waiting("a"))
        before = store.parking.free(LOCK, "holder")[1]
        assert before
        left = store.parking.due("app")[1]
        assert left is not None
        assert left <= SHORT
        assert eventually(lambda: list(store.parking.due("app")[0]) == [LOCK])
        assert list(store.parking.call(LOCK)) == list(before)

    def test_who_was_sent_is_forgotten(self, store: Store) -> None:
        store.locks.acquire("lock", "holder", LONG)
        store.parking.park(waiting("a"))
        store.parking.sent(store.parking.free(LOCK, "holder")[1])
        assert freed(store, "a") == (True, "")
        assert store.parking.count(LOCK) == 0

    def test_who_came_back_before_it_was_said_to_be_sent_stays(self, store: Store) -> None:
        store.locks.acquire("lock", "holder", LONG)
        store.parking.park(waiting("a"))
        called = store.parking.free(LOCK, "holder")[1]
        store.parking.park(waiting("a", since=called[0].since))
        store.parking.sent(called)
        assert store.parking.count(LOCK) == 1
        assert owners(store.parking.free(LOCK, "a")[1]) == ""
        store.locks.acquire("lock", "holder", LONG)
        store.parking.park(waiting("a"))
        store.parking.sent(called)
        assert owners(store.parking.free(LOCK, "holder")[1]) == "a"

    # Limits

    def test_as_many_are_called_as_the_window_has_room_for(self, store: Store) -> None:
        use_up(store, "limit", 5, WINDOW)
        for owner in "abcdefg":
            assert not store.parking.park(limited(owner, 5, WINDOW))
        called = eventually(lambda: store.parking.call(LIMIT))
        assert owners(called) == "abcde"
        assert store.parking.count(LIMIT) == 2
        assert called[0].demands == (Demand("limit", 5, WINDOW, 1),)

    def test_the_rest_is_called_in_the_next_windows(self, store: Store) -> None:
        use_up(store, "limit", 2, SHORT)
        for owner in "abcde":
            store.parking.park(limited(owner, 2, SHORT))
        order = []
        while store.parking.count(LIMIT):
            called = eventually(lambda: store.parking.call(LIMIT))
            order.append(owners(called))
            assert store.limits.take([Demand("limit", 2, SHORT, len(called))])
            store.parking.sent(called)
        assert order == ["ab", "cd", "e"]

    def test_a_window_makes_the_line_due_when_it_opens(self, store: Store) -> None:
        use_up(store, "limit", 1, 1.0)
        assert not store.parking.park(limited("a", 1, 1.0))
        left = store.parking.due("app")[1]
        assert left is not None
        assert left == pytest.approx(store.limits.usage("limit").ends_in, abs=0.05)

    def test_a_job_takes_its_own_cost_of_the_room(self, store: Store) -> None:
        use_up(store, "limit", 5, WINDOW)
        for owner, cost in (("a", 3), ("b", 3), ("c", 1)):
            store.parking.park(limited(owner, 5, WINDOW, cost))
        assert owners(eventually(lambda: store.parking.call(LIMIT))) == "a"

    def test_all_limits_must_have_room(self, store: Store) -> None:
        line = Line("app", None, ("wide", "narrow"))
        demands = Demand("wide", 5, AGES), Demand("narrow", 1, SHORT)
        use_up(store, "narrow", 1, SHORT)
        for owner in "ab":
            store.parking.park(waiting(owner, line, *demands))
        assert owners(eventually(lambda: store.parking.call(line))) == "a"

    def test_a_line_is_not_asked_twice_in_one_window(self, store: Store) -> None:
        store.limits.take([Demand("limit", 1, AGES)])
        store.parking.park(limited("a", 1))
        store.limits.clear("limit")
        assert not store.parking.park(limited("b", 1))

    def test_lines_differ_by_every_character(self, store: Store) -> None:
        lines = [
            Line("app", "lock"),
            Line("app", "Lock"),
            Line("app", "lock "),
            Line("app", "ключ 🦄"),
            Line("app", "k" * 1000),
            Line("app", None, ("lock",)),
            Line("app", None, ("a", "b")),
            Line("app", None, ("a,b",)),
            Line("app", 'a"{b}'),
        ]
        for line in lines:
            for key in line.limits:
                store.limits.take([Demand(key, 1, AGES)])
            if line.lock is not None:
                store.locks.acquire(line.lock, "holder", LONG)
            store.parking.park(waiting("a", line, *(Demand(key, 1, AGES) for key in line.limits)))
        assert [store.parking.count(line) for line in lines] == [1] * len(lines)


class SharedParkingSuite(ParkingSuite):
    """ParkingSuite for a store that other processes see."""

    #: How many jobs wait for the lock.
    jobs = 80

    def test_each_job_is_called_once_and_one_holds_the_lock_at_a_time(self, store: Store) -> None:
        store.locks.acquire("lock", "holder", LONG)
        board = Board(PROCESSES, 3)
        inside, met, called_times = range(3)

        def park_and_pass_on(place: int) -> None:
            for number in range(self.jobs // PROCESSES):
                assert not store.parking.park(waiting(f"{place}-{number}"))

        def pass_on(place: int) -> None:
            # Each process runs the jobs it has called itself.
            mine = ["holder"] if place == 0 else []
            end = time.monotonic() + LONG
            while sum(board.column(called_times)) < self.jobs and time.monotonic() < end:
                if not mine:
                    for line in store.parking.due("app")[0]:
                        called = store.parking.call(line)
                        store.parking.sent(called)
                        mine += [job.owner for job in called]
                    time.sleep(0.005)
                    continue
                owner = mine.pop(0)
                assert store.locks.acquire("lock", owner, LONG)
                board.write(place, 1, inside)
                if sum(board.column(inside)) > 1:
                    board.add(place, met)
                board.write(place, 0, inside)
                held, called = store.parking.free(LOCK, owner)
                assert held
                store.parking.sent(called)
                mine += [job.owner for job in called]
                for _ in called:
                    board.add(place, called_times)

        in_children([partial(park_and_pass_on, place) for place in range(PROCESSES)])
        assert store.parking.count(LOCK) == self.jobs
        in_children([partial(pass_on, place) for place in range(PROCESSES)])
        assert board.totals()[1:] == [0, self.jobs]
        assert store.parking.count(LOCK) == 0

    def test_a_job_is_called_by_one_of_many_that_look(self, store: Store) -> None:
        use_up(store, "limit", self.jobs, 4 * SHORT)
        for number in range(20):
            assert not store.parking.park(limited(str(number), self.jobs, 4 * SHORT))
        board = Board(PROCESSES)

        def look(place: int) -> None:
            end = time.monotonic() + 5 * SHORT
            while time.monotonic() < end:
                for _ in store.parking.call(LIMIT):
                    board.add(place)

        in_children([partial(look, place) for place in range(PROCESSES)])
        assert board.totals() == [20]

    def test_a_process_that_is_killed_loses_no_job(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(store.parking, "call_again", SHORT)
        store.locks.acquire("lock", "killed", SHORT)
        store.parking.park(waiting("a"))

        def call_and_die() -> None:
            store.parking.free(LOCK, "killed")
            os.kill(os.getpid(), signal.SIGKILL)

        assert Child(call_and_die).wait() == -signal.SIGKILL
        assert owners(eventually(lambda: store.parking.call(LOCK))) == "a"
