"""CacheSuite: what every Cache must do."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from laraq.ports import Cache
from laraq.testing.suite.board import Board
from laraq.testing.suite.forking import eventually, in_children

#: Seconds no test takes to end.
LONG = 60.0
#: Seconds whose end a test waits for.
SHORT = 0.2
#: How many compete.
PROCESSES = 8


class CacheSuite:
    """Subclass it as `class TestMyCache(CacheSuite)` and override the fixture `cache`.

    It tests what one process sees; take SharedCacheSuite when several processes see the same cache.
    """

    @pytest.fixture
    def cache(self) -> Cache:
        """An empty Cache; close its connections after the `yield`."""
        pytest.fail("Override the fixture `cache` to give an empty Cache.")

    def test_an_unknown_key_has_no_value(self, cache: Cache) -> None:
        assert cache.get("key") is None

    def test_a_value_is_found_with_the_seconds_it_lives(self, cache: Cache) -> None:
        cache.put("key", "value", LONG)
        assert text(cache) == "value"
        assert ends_in(cache) == pytest.approx(LONG, abs=2)

    def test_a_value_ends(self, cache: Cache) -> None:
        cache.put("key", "value", SHORT)
        assert text(cache) == "value"
        assert eventually(lambda: cache.get("key") is None)
        assert cache.forget("key") is False

    def test_a_peek_sees_the_value_while_it_lives(self, cache: Cache) -> None:
        assert cache.peek("key") is None
        cache.put("key", "\N{SNOWMAN} value", SHORT)
        assert cache.peek("key") == "\N{SNOWMAN} value"
        assert eventually(lambda: cache.peek("key") is None)

    def test_put_replaces_the_value_and_its_end(self, cache: Cache) -> None:
        cache.put("key", "old", SHORT)
        cache.put("key", "new", LONG)
        time.sleep(1.5 * SHORT)
        assert text(cache) == "new"
        cache.put("key", "newer", SHORT)
        assert eventually(lambda: cache.get("key") is None)

    def test_add_sets_a_value_once(self, cache: Cache) -> None:
        assert cache.add("key", "first", LONG) is True
        assert cache.add("key", "second", LONG) is False
        assert text(cache) == "first"

    def test_add_sets_a_value_again_when_the_first_is_over(self, cache: Cache) -> None:
        cache.add("key", "first", SHORT)
        assert eventually(lambda: cache.add("key", "second", LONG))
        assert text(cache) == "second"

    def test_add_that_is_refused_leaves_the_end_alone(self, cache: Cache) -> None:
        cache.add("key", "first", SHORT)
        cache.add("key", "second", LONG)
        assert eventually(lambda: cache.get("key") is None)

    def test_a_count_starts_at_nothing(self, cache: Cache) -> None:
        assert cache.increment("key", 1, LONG).count == 1
        assert cache.increment("key", 5, LONG).count == 6
        assert cache.increment("key", -2, LONG).value == "4"
        assert text(cache) == "4"

    def test_the_first_increment_fixes_the_end_of_a_count(self, cache: Cache) -> None:
        assert cache.increment("key", 1, LONG).ends_in == pytest.approx(LONG, abs=2)
        assert cache.increment("key", 1, 2 * LONG).ends_in == pytest.approx(LONG, abs=2)
        assert ends_in(cache) == pytest.approx(LONG, abs=2)

    def test_a_count_that_is_over_starts_again(self, cache: Cache) -> None:
        cache.increment("key", 5, SHORT)
        cache.increment("key", 1, LONG)
        assert eventually(lambda: cache.get("key") is None)
        again = cache.increment("key", 1, LONG)
        assert again.count == 1
        assert again.ends_in == pytest.approx(LONG, abs=2)

    def test_a_count_may_start_from_a_value(self, cache: Cache) -> None:
        cache.put("key", "41", LONG)
        assert cache.increment("key", 1, LONG).count == 42

    def test_a_forgotten_value_is_gone(self, cache: Cache) -> None:
        cache.put("key", "value", LONG)
        assert cache.forget("key") is True
        assert cache.get("key") is None
        assert cache.forget("key") is False

    def test_a_value_is_forgotten_only_while_it_is_the_one_that_is_meant(self, cache: Cache) -> None:
        cache.put("key", "value", LONG)
        for wrong in ("other", "Value", "value ", ""):
            assert cache.forget("key", wrong) is False
        assert cache.forget("key", "value") is True
        assert cache.forget("key", "value") is False

    @pytest.mark.parametrize("value", ["", " ", "snowman ☃, 🦄, ' \" \\ \n % :name {}", "x" * 60_000])
    def test_a_value_comes_back_as_it_was(self, cache: Cache, value: str) -> None:
        cache.put("key", value, LONG)
        assert text(cache) == value
        assert cache.forget("key", value) is True

    @pytest.mark.parametrize(
        ("key", "other"),
        [("key", "Key"), ("key", "key "), ("ключ 🦄", "ключ 🦊"), ("k" * 999 + "1", "k" * 999 + "2"), ("a{1}", "a{2}")],
    )
    def test_keys_differ_by_every_character(self, cache: Cache, key: str, other: str) -> None:
        cache.put(key, "1", LONG)
        assert cache.add(other, "2", LONG) is True
        assert text(cache, key) == "1"

    def test_threads_lose_no_increment(self, cache: Cache) -> None:
        with ThreadPoolExecutor(PROCESSES) as threads:
            counts = list(threads.map(lambda _: cache.increment("key", 1, LONG).count, range(40)))
        assert sorted(counts) == list(range(1, 41))

    def test_of_many_threads_one_adds(self, cache: Cache) -> None:
        with ThreadPoolExecutor(PROCESSES) as threads:
            answers = list(threads.map(lambda number: cache.add("key", str(number), LONG), range(20)))
        assert answers.count(True) == 1
        assert text(cache) == str(answers.index(True))


class SharedCacheSuite(CacheSuite):
    """CacheSuite for a cache that other processes see."""

    def test_processes_lose_no_increment_and_add_each_key_once(self, cache: Cache) -> None:
        cache.get("count")  # connects before the fork, as a worker's parent process may have done
        added = Board(PROCESSES, 10)

        def work(child: int) -> None:
            for number in range(20):
                cache.increment("count", 1, LONG)
                if cache.add(f"key {number % 10}", str(child), LONG):
                    added.add(child, number % 10)

        in_children([partial(work, child) for child in range(PROCESSES)])
        assert text(cache, "count") == str(20 * PROCESSES)
        assert added.totals() == [1] * 10

    def test_what_one_process_puts_another_gets(self, cache: Cache) -> None:
        in_children([partial(cache.put, "key", "from the child", LONG)])
        assert text(cache) == "from the child"


def text(cache: Cache, key: str = "key") -> str | None:
    """The live value."""
    found = cache.get(key)
    return None if found is None else found.value


def ends_in(cache: Cache, key: str = "key") -> float:
    """How long it lives."""
    found = cache.get(key)
    assert found is not None
    return found.ends_in
