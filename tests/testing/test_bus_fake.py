"""Bus.fake(): jobs, chains and batches are recorded where they are dispatched."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from laraq import Bus, Laraq, Queue
from laraq.errors import DispatchError, InvalidJobError
from laraq.testing import BusFake
from tests.testing.jobs import Bill, Flaky, Once, Ship, finally_, ran, then, welcome
from tests.testing.test_queue_fake import Lambdas


def all_ways() -> BusFake:
    with Bus.fake() as fake:
        Ship.dispatch(1)
        Ship.dispatch_sync(2)
        Ship.dispatch_after_response(3)
        welcome.dispatch("ada")
        Bus.chain([Bill(4), Ship(5), Bus.batch([Ship(6), Ship(7)]).name("rest")]).dispatch()
        Bus.batch([Ship(8), [Ship(9), Bill(10)]]).name("import").then(then).finally_(finally_).dispatch()
    assert ran == []
    return fake


@pytest.mark.parametrize(
    "succeeds",
    [
        lambda fake: fake.assert_dispatched(Ship),
        lambda fake: fake.assert_dispatched(Ship, times=3),
        lambda fake: fake.assert_dispatched(Ship(2)),
        lambda fake: fake.assert_dispatched_sync(Ship, lambda job: job.order_id == 2),
        lambda fake: fake.assert_dispatched_after_response(Ship(3)),
        lambda fake: fake.assert_dispatched_once(welcome),
        lambda fake: fake.assert_dispatched_times(Bill, 1),
        lambda fake: fake.assert_not_dispatched(Flaky),
        lambda fake: fake.assert_not_dispatched_sync(welcome),
        lambda fake: fake.assert_not_dispatched_after_response(Ship(1)),
        lambda fake: fake.assert_dispatched_without_chain(Ship),
        lambda fake: fake.assert_chained([Bill, Ship, Bus.chained_batch()]),
        lambda fake: fake.assert_chained([Bill(4), Ship(5), Bus.chained_batch(lambda batch: batch.label == "rest")]),
        lambda fake: fake.assert_batched(lambda batch: batch.label == "import"),
        lambda fake: fake.assert_batched([Ship(8), [Ship(9), Bill]]),
        lambda fake: fake.assert_batch_count(1),
    ],
)
def test_assertions_that_hold(succeeds: Callable[[BusFake], None]) -> None:
    succeeds(all_ways())


@pytest.mark.parametrize(
    ("fails", "text"),
    [
        (
            lambda fake: fake.assert_dispatched(Flaky),
            "to be dispatched, but it was not. Dispatched:\n  Ship(1)",
        ),
        (lambda fake: fake.assert_dispatched(Ship(9)), "Ship(1): order_id is 1, expected 9"),
        (lambda fake: fake.assert_dispatched(Ship, 2), "Expected Ship to be dispatched twice, but it was 3 times."),
        (lambda fake: fake.assert_dispatched_once(Ship), "Expected Ship to be dispatched once, but it was 3 times."),
        (lambda fake: fake.assert_dispatched_times(Ship, 0), "to be dispatched not at all, but it was 3 times."),
        (lambda fake: fake.assert_dispatched_sync(welcome), 'Near misses:\n  welcome.job("ada")'),
        (
            lambda fake: fake.assert_dispatched_after_response(Bill),
            "after the response, but it was not",
        ),
        (
            lambda fake: fake.assert_not_dispatched(Bill),
            "not to be dispatched, but:\n  Bill(4), followed by",
        ),
        (lambda fake: fake.assert_not_dispatched_sync(Ship), "Ship(2) (dispatched synchronously)"),
        (lambda fake: fake.assert_not_dispatched_after_response(Ship), "Ship(3) (dispatched after the response)"),
        (lambda fake: fake.assert_nothing_dispatched(), "Expected no job to be dispatched, but these were:"),
        (
            lambda fake: fake.assert_dispatched_without_chain(Bill),
            "to be dispatched without a chain, but it was",
        ),
        (lambda fake: fake.assert_dispatched_without_chain(Flaky), "Expected Flaky to be dispatched without a chain"),
        (
            lambda fake: fake.assert_chained([Bill, Ship]),
            "chain Bill -> Ship, but it was not dispatched. Chains:",
        ),
        (lambda fake: fake.assert_nothing_chained(), "Expected no chain to be dispatched, but these were:\n  Bill(4)"),
        (
            lambda fake: fake.assert_batched([Ship(1)]),
            "a batch of Ship(1) to be dispatched, but it was not.",
        ),
        (lambda fake: fake.assert_batched(_is_named), "Expected a batch for which _is_named is true"),
        (
            lambda fake: fake.assert_batch_count(2),
            "2 batches, but there are 1. Batches:\n  import: Ship(8), [",
        ),
        (lambda fake: fake.assert_nothing_batched(), "Expected no batch to be dispatched. Batches:\n  import"),
        (lambda fake: fake.assert_nothing_placed(), "Expected no job to be dispatched"),
    ],
)
def test_assertions_that_fail_say_what_was_dispatched(fails: Callable[[BusFake], None], text: str) -> None:
    with pytest.raises(AssertionError) as failure:
        fails(all_ways())
    assert text in str(failure.value)


def test_the_nearest_miss_comes_first() -> None:
    with Bus.fake() as fake:
        for order_id in (1, 7):
            Ship.dispatch(order_id, express=True)
    with pytest.raises(
        AssertionError, match=r"Near misses:\n  Ship\(7, True\): express is True, expected False\n  Ship\(1"
    ):
        fake.assert_dispatched(Ship(7))


def _is_named(batch: object) -> bool:
    return False


def test_nothing_at_all() -> None:
    with Bus.fake() as fake:
        pass
    fake.assert_nothing_dispatched()
    fake.assert_nothing_chained()
    fake.assert_nothing_batched()
    fake.assert_nothing_placed()


def test_a_batch_can_be_found_and_waits_for_ever() -> None:
    with Bus.fake() as fake:
        batch = Bus.batch([Ship(1), Ship(2)]).dispatch()
        assert Bus.find_batch(batch.id) is not None
        named = fake.dispatch_fake_batch("import")
        assert named.name == "import"
    assert (batch.total_jobs, batch.pending_jobs) == (2, 2)
    assert [one.id for one in fake.dispatched_batches()] == [batch.id, named.id]


def test_what_cannot_travel_fails_where_it_is_dispatched() -> None:
    with Bus.fake() as fake:
        for act in (
            lambda: Lambdas.dispatch(object()),
            lambda: Lambdas.dispatch_sync(object()),
            lambda: Bus.chain([Ship(1), Lambdas(object())]).dispatch(),
            lambda: Bus.batch([Lambdas(object())]).dispatch(),
        ):
            with pytest.raises(InvalidJobError, match="call"):
                act()
    fake.assert_nothing_placed()


def test_a_unique_job_is_dispatched_once() -> None:
    for _ in range(2):
        with Bus.fake() as fake:
            assert not Once.dispatch().skipped
            assert Once.dispatch().skipped
        fake.assert_dispatched_once(Once)


def test_only_some_jobs_are_faked() -> None:
    with Bus.fake(Ship) as fake:
        Ship.dispatch(1)
        with pytest.raises(DispatchError, match="has no broker"):
            Bill.dispatch(2)
        welcome.dispatch_sync("ada")
    assert fake.dispatched() == [Ship(1)]
    assert ran == ["welcome ada"]


@pytest.mark.parametrize("bus_first", [True, False])
def test_beside_a_faked_queue_the_bus_is_asked_first(bus_first: bool) -> None:
    fakes = [Bus.fake(), Queue.fake()]
    first, second = fakes if bus_first else fakes[::-1]
    with first, second:
        Ship.dispatch(1)
        Bus.batch([Ship(2)]).dispatch()
        Bus.assert_dispatched(Ship, times=1)
        Bus.assert_batch_count(1)
        Queue.assert_nothing_pushed()


def test_where_only_some_jobs_are_faked_the_store_is_left_as_it_was(queue: Laraq) -> None:
    lock = f"unique:{Once.job_name()}:"
    with Bus.fake([Ship, Once]) as fake:
        assert not Bus.chain([Once(), Ship(1)]).dispatch().skipped
        batch = Bus.batch([Ship(1)]).dispatch()
        assert Bus.find_batch(batch.id) is not None
        assert queue.store.locks.owner(lock) is not None
    fake.assert_chained([Once, Ship])
    fake.assert_batch_count(1)
    assert queue.batches.all() == []
    assert queue.store.locks.owner(lock) is None
