"""StoreSuite: what every Store must do, beyond what the suites of its parts test."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from laraq.ports import Store
from laraq.testing.suite.failed_jobs import failure
from laraq.testing.suite.forking import eventually, in_children
from laraq.testing.suite.journal import done, running


class StoreSuite:
    """Subclass it as `class TestMyStore(StoreSuite)` and override the fixture `store`.

    It tests what one process sees; take SharedStoreSuite when several processes see the same store.
    """

    @pytest.fixture
    def store(self) -> Store:
        """An empty, migrated Store; close it after the `yield`."""
        pytest.fail("Override the fixture `store` to give an empty, migrated Store.")

    def test_it_is_a_store(self, store: Store) -> None:
        assert isinstance(store, Store)

    def test_it_has_a_label(self, store: Store) -> None:
        assert store.label.strip()

    def test_a_migrated_store_needs_no_migration(self, store: Store) -> None:
        store.failed.record(failure())
        assert list(store.migrate()) == []
        assert store.failed.find("job-1") == failure()

    def test_its_parts_are_views_of_one_store(self, store: Store) -> None:
        store.failed.record(failure())
        store.journal.write("host:1", [running("job-1")])
        assert store.failed.count() == 1
        assert store.journal.find("job-1") == running("job-1")

    def test_a_closed_store_may_be_used_again(self, store: Store) -> None:
        store.failed.record(failure())
        store.journal.write("host:1", [running("job-1")])
        for _ in range(2):
            store.close()
        assert store.failed.find("job-1") == failure()
        store.journal.write("host:1", [done("job-1")])
        assert store.journal.find("job-1") == done("job-1")


class SharedStoreSuite(StoreSuite):
    """StoreSuite for a store that other processes see."""

    def test_children_use_the_store_their_parent_made(self, store: Store) -> None:
        store.failed.record(failure("parent"))
        store.journal.write("parent", [running("job-1")])

        def child(name: str) -> None:
            assert store.failed.find("parent") is not None
            assert store.journal.find("job-1") == running("job-1")
            store.journal.write(name, [running(f"job of {name}")])
            store.close()
            store.failed.record(failure(name))
            store.journal.write(name, [done(f"job of {name}")])

        works: list[Callable[[], object]] = [partial(child, name) for name in ("Ann", "Bob")]
        in_children(works)
        assert {job.id for job in store.failed.all()} == {"parent", "Ann", "Bob"}
        assert eventually(lambda: store.journal.find("job of Ann") == done("job of Ann"))
        assert eventually(lambda: store.journal.find("job of Bob") == done("job of Bob"))
