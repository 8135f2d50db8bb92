"""LimitsSuite: what every Limits must do."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from laraq.ports import Demand, Limits
from laraq.testing.suite.board import Board
from laraq.testing.suite.forking import eventually, in_children

#: Seconds of a window that ends once in 31 years.
LONG = 1e9
#: Seconds of a window whose end a test waits for.
SHORT = 0.5
#: How many compete.
PROCESSES = 8


class LimitsSuite:
    """Subclass it as `class TestMyLimits(LimitsSuite)` and override the fixture `limits`.

    It tests what one process sees; take SharedLimitsSuite when several processes see the same limits. The windows
    are compared with the clock of this machine: let the server run on it, or keep its clock.
    """

    @pytest.fixture
    def limits(self) -> Limits:
        """Limits nothing was taken from; close their connections after the `yield`."""
        pytest.fail("Override the fixture `limits` to give Limits nothing was taken from.")

    def test_a_window_gives_its_maximum_and_no_more(self, limits: Limits) -> None:
        demand = Demand("key", 3, LONG)
        grants = [limits.take([demand]) for _ in range(5)]
        assert [grant.granted for grant in grants] == [True, True, True, False, False]
        assert [grant.remaining for grant in grants] == [(2,), (1,), (0,), (0,), (0,)]

    def test_a_grant_is_true_and_a_refusal_is_false(self, limits: Limits) -> None:
        assert limits.take([Demand("key", 1, LONG)])
        assert not limits.take([Demand("key", 1, LONG)])

    def test_a_refusal_says_when_the_window_ends(self, limits: Limits) -> None:
        assert limits.take([Demand("key", 1, LONG)]).available_in == 0
        refusal = limits.take([Demand("key", 1, LONG)])
        assert refusal.available_in == pytest.approx(LONG - time.time() % LONG, abs=2)

    def test_windows_are_aligned_to_the_epoch(self, limits: Limits) -> None:
        demand = Demand("key", 1, SHORT)
        _sleep_into_a_window()
        limits.take([demand])
        refusal = limits.take([demand])
        ends_at = (time.time() + refusal.available_in) / SHORT
        assert not refusal
        assert ends_at == pytest.approx(round(ends_at), abs=0.1)

    def test_the_next_window_gives_anew(self, limits: Limits) -> None:
        demand = Demand("key", 1, SHORT)
        _sleep_into_a_window()
        assert limits.take([demand])
        refusal = limits.take([demand])
        assert not refusal
        assert 0 < refusal.available_in <= SHORT
        time.sleep(refusal.available_in + 0.02)
        assert limits.take([demand])

    def test_a_cost_is_taken_as_a_whole_or_not_at_all(self, limits: Limits) -> None:
        assert limits.take([Demand("key", 10, LONG, cost=7)]).remaining == (3,)
        assert not limits.take([Demand("key", 10, LONG, cost=4)])
        assert limits.take([Demand("key", 10, LONG, cost=3)]).remaining == (0,)

    def test_a_cost_above_the_maximum_is_never_granted(self, limits: Limits) -> None:
        refusal = limits.take([Demand("key", 3, LONG, cost=4)])
        assert not refusal
        assert refusal.available_in > 0
        assert refusal.remaining == (3,)

    def test_a_maximum_of_nothing_gives_nothing(self, limits: Limits) -> None:
        assert not limits.take([Demand("key", 0, LONG)])

    def test_a_cost_of_nothing_takes_nothing(self, limits: Limits) -> None:
        limits.take([Demand("key", 1, LONG)])
        assert limits.take([Demand("key", 1, LONG, cost=0)]).remaining == (0,)
        assert limits.usage("key").used == 1

    def test_of_several_demands_all_are_taken(self, limits: Limits) -> None:
        assert limits.take([Demand("b", 5, LONG, cost=2), Demand("a", 3, LONG)]).remaining == (3, 2)

    def test_of_several_demands_none_is_taken_when_one_is_refused(self, limits: Limits) -> None:
        limits.take([Demand("b", 1, LONG)])
        refusal = limits.take([Demand("a", 5, LONG), Demand("b", 1, LONG), Demand("c", 5, LONG)])
        assert not refusal
        assert refusal.remaining == (5, 0, 5)
        assert [limits.usage(key).used for key in "abc"] == [0, 1, 0]

    def test_a_refusal_waits_for_the_last_window_that_refused(self, limits: Limits) -> None:
        short, long = Demand("short", 1, SHORT), Demand("long", 1, LONG)
        _sleep_into_a_window()
        limits.take([short, long])
        assert limits.take([short]).available_in <= SHORT
        assert limits.take([short, long]).available_in > SHORT

    def test_a_window_that_had_enough_is_not_waited_for(self, limits: Limits) -> None:
        short, long = Demand("short", 1, SHORT), Demand("long", 5, LONG)
        _sleep_into_a_window()
        limits.take([short, long])
        refusal = limits.take([long, short])
        assert not refusal
        assert refusal.available_in <= SHORT

    def test_usage_says_what_was_taken_and_when_it_ends(self, limits: Limits) -> None:
        limits.take([Demand("key", 5, LONG, cost=2)])
        usage = limits.usage("key")
        assert usage.used == 2
        assert usage.ends_in == pytest.approx(LONG - time.time() % LONG, abs=2)

    def test_an_unused_limit_has_no_window(self, limits: Limits) -> None:
        usage = limits.usage("key")
        assert (usage.used, usage.ends_in) == (0, 0)

    def test_a_window_that_is_over_holds_nothing(self, limits: Limits) -> None:
        limits.take([Demand("key", 5, SHORT)])
        assert eventually(lambda: limits.usage("key").used == 0)
        assert limits.usage("key").ends_in == 0

    def test_clear_forgets_what_was_taken(self, limits: Limits) -> None:
        limits.take([Demand("key", 1, LONG), Demand("other", 1, LONG)])
        limits.clear("key")
        limits.clear("never used")
        assert limits.usage("key").used == 0
        assert limits.take([Demand("key", 1, LONG)])
        assert not limits.take([Demand("other", 1, LONG)])

    def test_a_new_maximum_holds_at_once(self, limits: Limits) -> None:
        limits.take([Demand("key", 10, LONG, cost=6)])
        refusal = limits.take([Demand("key", 5, LONG)])
        assert not refusal
        assert refusal.remaining == (0,)
        assert limits.take([Demand("key", 20, LONG)]).remaining == (13,)

    def test_a_window_in_progress_keeps_its_end_when_another_length_is_asked_for(self, limits: Limits) -> None:
        limits.take([Demand("key", 2, LONG)])
        assert limits.take([Demand("key", 2, SHORT)]).remaining == (0,)
        assert limits.take([Demand("key", 2, SHORT)]).available_in > SHORT

    def test_counts_may_be_large(self, limits: Limits) -> None:
        maximum = 2**53 - 1
        assert limits.take([Demand("key", maximum, LONG, cost=maximum - 1)]).remaining == (1,)
        assert limits.take([Demand("key", maximum, LONG)]).remaining == (0,)
        assert not limits.take([Demand("key", maximum, LONG)])

    @pytest.mark.parametrize(
        ("key", "other"),
        [("key", "Key"), ("key", "key "), ("ключ 🦄", "ключ 🦊"), ("k" * 999 + "1", "k" * 999 + "2"), ("a{1}", "a{2}")],
    )
    def test_keys_differ_by_every_character(self, limits: Limits, key: str, other: str) -> None:
        assert limits.take([Demand(key, 1, LONG), Demand(other, 1, LONG)])
        limits.clear(key)
        assert limits.usage(other).used == 1

    def test_threads_together_get_the_maximum(self, limits: Limits) -> None:
        with ThreadPoolExecutor(PROCESSES) as threads:
            grants = list(threads.map(lambda _: limits.take([Demand("key", 10, LONG)]), range(30)))
        assert sum(grant.granted for grant in grants) == 10
        assert sorted(grant.remaining for grant in grants if grant) == [(left,) for left in range(10)]


class SharedLimitsSuite(LimitsSuite):
    """LimitsSuite for limits that other processes see."""

    #: Seconds of each window of the stampede, and how many of them it lasts at least, 3 or more.
    window, windows = 0.5, 3
    #: What each may give: less than the slowest machine can take.
    maximum = 20

    def test_the_clock_of_the_worker_does_not_matter(self, limits: Limits, monkeypatch: pytest.MonkeyPatch) -> None:
        limits.take([Demand("key", 1, LONG)])
        right = time.time
        for wrong_by in (-LONG, LONG):
            monkeypatch.setattr(time, "time", lambda wrong_by=wrong_by: right() + wrong_by)
            assert not limits.take([Demand("key", 1, LONG)])

    def test_processes_get_the_whole_maximum_of_each_window_and_never_more(self, limits: Limits) -> None:
        limits.usage("key")  # connects before the fork, as a worker's parent process may have done
        first = int(time.time() / self.window)
        # What was granted while the window changed may belong to either: it proves nothing about one of them.
        ready, taken, between = Board(PROCESSES), Board(PROCESSES, 100), Board(PROCESSES)

        def take(child: int) -> None:
            limits.take([Demand(f"key of {child}", 1, LONG)])  # connects, which may take longer than a window
            ready.add(child)
            while sum(ready.column()) < PROCESSES:
                time.sleep(0.001)
            end = time.time() + (self.windows + 1) * self.window
            while time.time() < end:
                before = int(time.time() / self.window) - first
                grant = limits.take([Demand("key", self.maximum, self.window)])
                after = int(time.time() / self.window) - first
                if grant and before == after:
                    taken.add(child, after)
                elif grant:
                    between.add(child)
                else:
                    time.sleep(min(grant.available_in, 0.005))

        in_children([partial(take, child) for child in range(PROCESSES)])
        uses = [used for used in taken.totals() if used]
        unsure = sum(between.totals())
        assert max(uses) <= self.maximum
        assert sum(uses) + unsure <= self.maximum * (len(uses) + 1)
        assert len(uses) >= self.windows
        assert min(uses[1:-1]) + unsure >= self.maximum

    def test_of_two_limits_neither_is_used_alone_however_many_compete(self, limits: Limits) -> None:
        limits.usage("a")
        granted = Board(PROCESSES)

        def take(child: int) -> None:
            mine, other = Demand("a", 40, LONG), Demand("b", 60, LONG)
            for number in range(15):
                # Both orders, which would block each other for ever in a store that locks them as they come
                if limits.take([mine, other] if (number + child) % 2 else [other, mine]):
                    granted.add(child)

        in_children([partial(take, child) for child in range(PROCESSES)])
        assert granted.totals() == [40]
        assert [limits.usage(key).used for key in "ab"] == [40, 40]

    def test_what_one_process_clears_another_may_take(self, limits: Limits) -> None:
        limits.take([Demand("key", 1, LONG)])
        in_children([partial(limits.clear, "key")])
        assert limits.take([Demand("key", 1, LONG)])


def _sleep_into_a_window() -> None:
    """Not so late that its end comes in the middle of the test."""
    time.sleep(SHORT - time.time() % SHORT + 0.01)
