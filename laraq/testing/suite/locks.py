"""LocksSuite: what every Locks must do."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from random import SystemRandom
from uuid import uuid4

import pytest

from laraq.ports import Locks
from laraq.testing.suite.board import Board
from laraq.testing.suite.forking import Child, eventually, in_children

#: Seconds no test takes to end.
LONG = 60.0
#: Seconds of a lease whose end a test waits for.
SHORT = 0.2
#: How many compete.
PROCESSES = 8
#: Forked processes do not share its state, as they would share a generator's.
CHANCE = SystemRandom()


class LocksSuite:
    """Subclass it as `class TestMyLocks(LocksSuite)` and override the fixture `locks`.

    It tests what one process sees; take SharedLocksSuite when several processes see the same locks.
    """

    @pytest.fixture
    def locks(self) -> Locks:
        """Locks that nobody holds; close their connections after the `yield`."""
        pytest.fail("Override the fixture `locks` to give Locks that nobody holds.")

    def test_a_free_lock_is_acquired(self, locks: Locks) -> None:
        assert locks.owner("key") is None
        assert locks.acquire("key", "a", LONG) is True
        assert locks.owner("key") == "a"

    def test_a_held_lock_is_refused_to_another_owner(self, locks: Locks) -> None:
        locks.acquire("key", "a", LONG)
        assert locks.acquire("key", "b", LONG) is False
        assert locks.owner("key") == "a"

    def test_a_lock_is_released_by_its_owner(self, locks: Locks) -> None:
        locks.acquire("key", "a", LONG)
        assert locks.release("key", "a") is True
        assert locks.owner("key") is None
        assert locks.acquire("key", "b", LONG) is True

    def test_release_by_another_owner_is_refused(self, locks: Locks) -> None:
        locks.acquire("key", "a", LONG)
        assert locks.release("key", "b") is False
        assert locks.owner("key") == "a"

    def test_a_second_release_finds_nothing(self, locks: Locks) -> None:
        locks.acquire("key", "a", LONG)
        locks.release("key", "a")
        assert locks.release("key", "a") is False
        assert locks.release("never held", "a") is False

    def test_a_lock_frees_itself_when_its_seconds_are_over(self, locks: Locks) -> None:
        locks.acquire("key", "a", SHORT)
        assert locks.acquire("key", "b", LONG) is False
        assert eventually(lambda: locks.acquire("key", "b", LONG))
        assert locks.owner("key") == "b"

    def test_a_lease_that_is_over_is_nobodys(self, locks: Locks) -> None:
        locks.acquire("key", "a", SHORT)
        assert eventually(lambda: locks.owner("key") is None)
        assert locks.release("key", "a") is False
        assert locks.refresh("key", "a", LONG) is False
        assert locks.force_release("key") is False
        assert locks.owner("key") is None

    def test_a_late_release_does_not_free_the_next_owners_lock(self, locks: Locks) -> None:
        locks.acquire("key", "a", SHORT)
        assert eventually(lambda: locks.acquire("key", "b", LONG))
        assert locks.release("key", "a") is False
        assert locks.refresh("key", "a", LONG) is False
        assert locks.owner("key") == "b"

    def test_the_same_owner_acquires_again_and_so_extends_its_lease(self, locks: Locks) -> None:
        locks.acquire("key", "a", SHORT)
        assert locks.acquire("key", "a", LONG) is True
        time.sleep(1.5 * SHORT)
        assert locks.owner("key") == "a"
        assert locks.release("key", "a") is True
        assert locks.owner("key") is None

    def test_refresh_extends_a_lease(self, locks: Locks) -> None:
        locks.acquire("key", "a", SHORT)
        assert locks.refresh("key", "a", LONG) is True
        time.sleep(1.5 * SHORT)
        assert locks.owner("key") == "a"

    def test_refresh_may_shorten_a_lease(self, locks: Locks) -> None:
        locks.acquire("key", "a", LONG)
        assert locks.refresh("key", "a", SHORT) is True
        assert eventually(lambda: locks.owner("key") is None)

    def test_refresh_by_another_owner_is_refused(self, locks: Locks) -> None:
        assert locks.refresh("key", "b", LONG) is False
        locks.acquire("key", "a", LONG)
        assert locks.refresh("key", "b", LONG) is False
        assert locks.owner("key") == "a"

    def test_force_release_frees_whoever_holds_it(self, locks: Locks) -> None:
        locks.acquire("key", "a", LONG)
        assert locks.force_release("key") is True
        assert locks.owner("key") is None
        assert locks.release("key", "a") is False
        assert locks.force_release("key") is False

    def test_a_fraction_of_a_second_counts(self, locks: Locks) -> None:
        locks.acquire("key", "a", LONG + 0.0005)
        assert locks.owner("key") == "a"

    @pytest.mark.parametrize(
        ("key", "other"),
        [
            ("key", "Key"),
            ("key", "key "),
            ("key", "kéy"),
            ("ключ 🦄", "ключ 🦊"),
            ("k" * 1000 + "1", "k" * 1000 + "2"),
            ("a{1}b", "a{2}b"),
            ("nul\0a", "nul\0b"),
            ("50%", "50%%"),
            (":name", "%(name)s"),
            ("", " "),
        ],
    )
    def test_keys_differ_by_every_character(self, locks: Locks, key: str, other: str) -> None:
        assert locks.acquire(key, "a", LONG) is True
        assert locks.acquire(key, "b", LONG) is False
        assert locks.acquire(other, "b", LONG) is True
        assert locks.owner(key) == "a"
        assert locks.release(key, "a") is True
        assert locks.owner(other) == "b"

    def test_owners_differ_by_every_character(self, locks: Locks) -> None:
        locks.acquire("key", "owner", LONG)
        for other in ("Owner", "owner-1", "öwner"):
            assert locks.acquire("key", other, LONG) is False
            assert locks.release("key", other) is False

    # Slots: what a funnel stands on

    def test_as_many_owners_as_slots_hold_a_key(self, locks: Locks) -> None:
        assert [locks.acquire("key", owner, LONG, 3) for owner in "abcd"] == [True, True, True, False]
        locks.release("key", "b")
        assert locks.acquire("key", "d", LONG, 3) is True
        assert locks.acquire("key", "e", LONG, 3) is False

    def test_an_owner_takes_one_slot_however_often_it_acquires(self, locks: Locks) -> None:
        assert [locks.acquire("key", "a", LONG, 2) for _ in range(3)] == [True, True, True]
        assert locks.acquire("key", "b", LONG, 2) is True
        assert locks.release("key", "a") is True
        assert locks.acquire("key", "c", LONG, 2) is True

    def test_a_slot_frees_itself_when_its_seconds_are_over(self, locks: Locks) -> None:
        locks.acquire("key", "a", LONG, 2)
        locks.acquire("key", "b", SHORT, 2)
        assert locks.acquire("key", "c", LONG, 2) is False
        assert eventually(lambda: locks.acquire("key", "c", LONG, 2))
        assert locks.release("key", "b") is False
        assert locks.release("key", "a") is True

    def test_the_owner_of_slots_is_the_one_whose_lease_ends_last(self, locks: Locks) -> None:
        for owner, seconds in (("a", LONG), ("b", 2 * LONG), ("c", LONG)):
            locks.acquire("key", owner, seconds, 3)
        assert locks.owner("key") == "b"
        locks.release("key", "b")
        locks.refresh("key", "c", 3 * LONG)
        assert locks.owner("key") == "c"

    def test_fewer_slots_than_holders_let_nobody_in_until_enough_have_left(self, locks: Locks) -> None:
        for owner in "abc":
            locks.acquire("key", owner, LONG, 3)
        assert locks.acquire("key", "d", LONG, 2) is False
        locks.release("key", "a")
        assert locks.acquire("key", "d", LONG, 2) is False
        locks.release("key", "b")
        assert locks.acquire("key", "d", LONG, 2) is True

    def test_force_release_ends_every_lease(self, locks: Locks) -> None:
        for owner in "abc":
            locks.acquire("key", owner, LONG, 3)
        assert locks.force_release("key") is True
        assert [locks.release("key", owner) for owner in "abc"] == [False] * 3

    # Races

    def test_of_many_threads_one_gets_the_lock(self, locks: Locks) -> None:
        with ThreadPoolExecutor(PROCESSES) as threads:
            answers = list(threads.map(lambda owner: locks.acquire("key", str(owner), LONG), range(4 * PROCESSES)))
        assert answers.count(True) == 1
        assert locks.owner("key") == str(answers.index(True))

    def test_of_many_threads_as_many_as_slots_get_in(self, locks: Locks) -> None:
        with ThreadPoolExecutor(PROCESSES) as threads:
            answers = list(threads.map(lambda owner: locks.acquire("key", str(owner), LONG, 5), range(4 * PROCESSES)))
        assert answers.count(True) == 5


class SharedLocksSuite(LocksSuite):
    """LocksSuite for locks that other processes see."""

    #: How often PROCESSES processes together try to acquire one of 100 keys.
    tries = 10_000
    #: Seconds for which they go in and out of one key while they are killed.
    siege = 2.5

    def test_the_clock_of_the_worker_does_not_matter(self, locks: Locks, monkeypatch: pytest.MonkeyPatch) -> None:
        locks.acquire("key", "a", LONG)
        right = time.time
        for wrong_by in (-10 * LONG, 10 * LONG):
            monkeypatch.setattr(time, "time", lambda wrong_by=wrong_by: right() + wrong_by)
            assert locks.acquire("key", "b", LONG) is False
            assert locks.refresh("key", "a", LONG) is True
        monkeypatch.undo()
        assert locks.owner("key") == "a"

    def test_of_thousands_of_tries_each_key_is_granted_once(self, locks: Locks) -> None:
        locks.owner("key 0")  # connects before the fork, as a worker's parent process may have done
        granted = Board(PROCESSES, 100)

        def acquire(child: int) -> None:
            for number in range(self.tries // PROCESSES):
                key = (number * 7 + child * 13) % 100
                if locks.acquire(f"key {key}", f"{child}-{number}", LONG):
                    granted.add(child, key)

        in_children([partial(acquire, child) for child in range(PROCESSES)])
        assert granted.totals() == [1] * 100

    @pytest.mark.parametrize("slots", [1, 3])
    def test_never_more_inside_than_slots_nor_stuck_when_holders_are_killed(self, locks: Locks, slots: int) -> None:
        locks.owner("key")
        end = time.monotonic() + self.siege
        #: Until when each process may believe that it holds the key; a killed one takes nothing back.
        held_until = Board(PROCESSES)
        entries, kills = Board(PROCESSES), Board(PROCESSES)

        def goes_on() -> bool:
            # On a loaded machine the first may need longer than that to connect
            return time.monotonic() < end or (sum(entries.totals()) <= slots and time.monotonic() < end + 20)

        def go_in_and_out(place: int) -> None:
            # Connects, which may take longer than the life it has from here
            locks.acquire(f"key of {place}", "warm", LONG)
            _kill_this_process_in(CHANCE.uniform(0.05, 0.5))
            while goes_on():
                owner, until = uuid4().hex, time.monotonic() + SHORT
                if not locks.acquire("key", owner, SHORT, slots):
                    time.sleep(CHANCE.uniform(0, 0.005))
                    continue
                held_until.write(place, until)
                now = time.monotonic() + 0.002  # stores count in whole milliseconds
                inside = sum(lease > now for lease in held_until.column())
                assert inside <= slots, f"{inside} processes are inside"
                entries.add(place)
                time.sleep(CHANCE.uniform(0, 0.002))
                held_until.write(place, 0)
                locks.release("key", owner)

        def replace_the_killed(place: int) -> None:
            while goes_on():
                status = Child(partial(go_in_and_out, place)).wait()
                assert status in (0, -signal.SIGKILL)
                kills.add(place)
                time.sleep(max(held_until.column()[place] - time.monotonic(), 0))

        in_children([partial(replace_the_killed, place) for place in range(PROCESSES)])
        assert sum(kills.totals()) > 0
        assert sum(entries.totals()) > slots
        assert eventually(lambda: locks.acquire("key", "last", LONG, slots), 2 * SHORT)


def _kill_this_process_in(seconds: float) -> None:
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL))
    timer.daemon = True
    timer.start()
