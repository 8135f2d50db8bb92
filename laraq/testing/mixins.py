"""Mixins for `unittest.TestCase`: what the fixtures of the pytest plugin give, under the same names.

class OrderTest(QueueFakeMixin, TestCase):
    def test_an_order_is_shipped(self) -> None:
        place_order(7)
        self.queue_fake.assert_pushed(ShipOrder)

Each begins in `setUp` and ends as a cleanup, after `tearDown`: a `setUp` of one's own calls `super().setUp()` first.
They suit every TestCase, `IsolatedAsyncioTestCase` and Django's among them.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, ClassVar
from unittest import TestCase, TestResult

from laraq import Bus, Queue
from laraq.testing.live_worker import LiveWorker

if TYPE_CHECKING:
    from laraq.testing.bus_fake import BusFake
    from laraq.testing.queue_fake import QueueFake
    from laraq.testing.testing_queue import TestingQueue


class QueueFakeMixin(TestCase):
    """`self.queue_fake` records jobs and tasks instead of sending them."""

    queue_fake: QueueFake

    def setUp(self) -> None:
        """Begin to record."""
        super().setUp()
        self.queue_fake = self.enterContext(Queue.fake())


class BusFakeMixin(TestCase):
    """`self.bus_fake` records what is dispatched, chained and batched."""

    bus_fake: BusFake

    def setUp(self) -> None:
        """Begin to record."""
        super().setUp()
        self.bus_fake = self.enterContext(Bus.fake())


class LaraqTestingMixin(TestCase):
    """`self.laraq_testing` runs jobs in the test's process when its `drain()` says so."""

    laraq_testing: TestingQueue

    def setUp(self) -> None:
        """Keep jobs from now on."""
        super().setUp()
        self.laraq_testing = self.enterContext(Queue.testing())


class LaraqWorkerMixin(TestCase):
    """`self.laraq_worker` is a real `celery worker` of the app, on a broker and a store in a temporary SQLite file.

    Its log is printed where a test fails.
    """

    #: As in `celery -A`, where the app is not found in an imported module: "module:attribute".
    laraq_app: ClassVar[str] = ""

    laraq_worker: LiveWorker

    def run(self, result: TestResult | None = None) -> TestResult | None:
        """Run the test, and know where its failure will be told."""
        self._result = result
        return super().run(result)

    def setUp(self) -> None:
        """Start the worker."""
        super().setUp()
        folder = self.enterContext(TemporaryDirectory(prefix="laraq-"))
        self.laraq_worker = self.enterContext(LiveWorker(Path(folder), self.laraq_app))
        self.addCleanup(self._show_log)

    def _show_log(self) -> None:
        if isinstance(self._result, TestResult):
            told = [getattr(test, "test_case", test) for test, _ in [*self._result.failures, *self._result.errors]]
            if self not in told:
                return
        # pytest has a result of its own, and shows what is printed only where a test fails.
        print(f"--- log of laraq_worker\n{self.laraq_worker.log}--- end of log")
