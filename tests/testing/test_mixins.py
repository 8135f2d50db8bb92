"""The mixins for unittest: each test of a TestCase has a fake, or a queue, of its own."""

from __future__ import annotations

import io
import unittest
from typing import Any
from unittest import IsolatedAsyncioTestCase, TestCase

import pytest

from laraq import Bus, Laraq, Queue
from laraq.testing import BusFakeMixin, LaraqTestingMixin, QueueFakeMixin
from tests.testing.jobs import Bill, Ship, ran


def run(case: type[TestCase]) -> unittest.TestResult:
    """What unittest's own runner says of it."""
    return unittest.TextTestRunner(stream=io.StringIO()).run(unittest.defaultTestLoader.loadTestsFromTestCase(case))


def passed(result: unittest.TestResult, count: int) -> bool:
    assert result.wasSuccessful(), [text for _, text in [*result.failures, *result.errors]]
    return result.testsRun == count


def test_each_test_has_a_fake_queue_of_its_own(queue: Laraq) -> None:
    class Case(QueueFakeMixin, TestCase):
        def test_one(self) -> None:
            self.queue_fake.assert_nothing_pushed()
            Ship.dispatch(1)
            self.queue_fake.assert_pushed(Ship(1))

        test_another = test_one

    before = queue.dispatcher
    assert passed(run(Case), 2)
    assert queue.dispatcher is before
    with pytest.raises(RuntimeError, match="needs a fake"):
        Queue.assert_nothing_pushed()


def test_each_test_has_a_fake_bus_of_its_own() -> None:
    class Case(BusFakeMixin, TestCase):
        def test_one(self) -> None:
            self.bus_fake.assert_nothing_placed()
            Bus.batch([Ship(1)]).dispatch()
            self.bus_fake.assert_batch_count(1)

        test_another = test_one

    assert passed(run(Case), 2)


def test_each_test_has_a_queue_to_drain() -> None:
    class Case(LaraqTestingMixin, TestCase):
        def test_one(self) -> None:
            Ship(1).with_delay(60).dispatch()
            assert self.laraq_testing.drain() == 0
            self.laraq_testing.travel(60)
            assert self.laraq_testing.drain() == 1

        test_another = test_one

    assert passed(run(Case), 2)
    assert ran == [1, 1]


def test_mixins_stand_beside_each_other_and_a_setup_of_ones_own() -> None:
    class Case(QueueFakeMixin, BusFakeMixin, TestCase):
        def setUp(self) -> None:
            super().setUp()
            Ship.dispatch(1)

        def test_one(self) -> None:
            self.bus_fake.assert_dispatched_once(Ship)
            self.queue_fake.assert_nothing_pushed()

        def tearDown(self) -> None:
            Ship.dispatch(2)
            self.bus_fake.assert_dispatched(Ship, times=2)

    assert passed(run(Case), 1)


@pytest.mark.parametrize(
    "bases", [(QueueFakeMixin, IsolatedAsyncioTestCase), (IsolatedAsyncioTestCase, QueueFakeMixin)]
)
def test_an_async_test_uses_it_from_its_setup_to_its_end(bases: tuple[Any, ...]) -> None:
    class Case(*bases):  # type: ignore[misc] # a base that is computed
        queue_fake: Any

        async def asyncSetUp(self) -> None:
            await Ship(1).adispatch()

        async def test_one(self) -> None:
            await Ship(2).adispatch()
            assert self.queue_fake.pushed() == [Ship(1), Ship(2)]

        async def asyncTearDown(self) -> None:
            self.queue_fake.assert_count(2)

    assert passed(run(Case), 1)


def test_an_async_test_drains_its_queue() -> None:
    class Case(LaraqTestingMixin, IsolatedAsyncioTestCase):
        async def test_one(self) -> None:
            await Ship(1).adispatch()
            self.laraq_testing.drain()

    assert passed(run(Case), 1)
    assert ran == [1]


def test_a_failure_says_what_was_pushed() -> None:
    class Case(QueueFakeMixin, TestCase):
        def test_one(self) -> None:
            Ship.dispatch(1)
            self.queue_fake.assert_pushed(Ship(2))

    [(_, text)] = run(Case).failures
    assert "Near misses:\n  Ship(1): order_id is 1, expected 2" in text


def test_nothing_is_left_of_a_fake_whose_test_did_not_begin(queue: Laraq) -> None:
    class Case(QueueFakeMixin, TestCase):
        def setUp(self) -> None:
            super().setUp()
            raise ValueError("no database")

        def test_one(self) -> None: ...

    before = queue.dispatcher
    assert len(run(Case).errors) == 1
    assert queue.dispatcher is before


def test_a_class_may_choose_what_is_faked_with_a_fake_of_its_own() -> None:
    class Case(LaraqTestingMixin, TestCase):
        def test_one(self) -> None:
            with Queue.fake([Bill]) as fake:
                Bill.dispatch(1)
            fake.assert_pushed_once(Bill)

    assert passed(run(Case), 1)


def test_an_imported_mixin_is_no_test() -> None:
    for mixin in (QueueFakeMixin, BusFakeMixin, LaraqTestingMixin):
        assert unittest.defaultTestLoader.loadTestsFromTestCase(mixin).countTestCases() == 0
