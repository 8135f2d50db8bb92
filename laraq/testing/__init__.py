"""Testing: fakes that record, a queue that runs jobs in the test, and conformance suites for adapters.

with Queue.fake() as fake:          # nothing is sent
    place_order(7)
    fake.assert_pushed(ShipOrder, lambda job: job.order_id == 7)

with Queue.testing() as queue:      # everything runs here, when the test says so
    place_order(7)
    queue.drain()
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from laraq.testing.batch_fake import BatchFake
    from laraq.testing.bus_fake import BusFake
    from laraq.testing.host import TestingApp
    from laraq.testing.live_worker import LiveWorker
    from laraq.testing.matching import ChainedBatchMatcher, Task
    from laraq.testing.mixins import BusFakeMixin, LaraqTestingMixin, LaraqWorkerMixin, QueueFakeMixin
    from laraq.testing.queue_fake import Pushed, QueueFake
    from laraq.testing.testing_queue import TestingQueue

__all__ = [
    "BatchFake", "BusFake", "BusFakeMixin", "ChainedBatchMatcher", "LaraqTestingMixin", "LaraqWorkerMixin",
    "LiveWorker", "Pushed", "QueueFake", "QueueFakeMixin", "Task", "TestingApp", "TestingQueue",
]  # fmt: skip

#: pytest imports this package at every start, for its plugin: the rest waits.
_PLACE = {
    "BatchFake": "batch_fake",
    "BusFake": "bus_fake",
    "BusFakeMixin": "mixins",
    "ChainedBatchMatcher": "matching",
    "LaraqTestingMixin": "mixins",
    "LaraqWorkerMixin": "mixins",
    "LiveWorker": "live_worker",
    "Pushed": "queue_fake",
    "QueueFake": "queue_fake",
    "QueueFakeMixin": "mixins",
    "Task": "matching",
    "TestingApp": "host",
    "TestingQueue": "testing_queue",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for."""
    if name not in _PLACE:
        raise AttributeError(f"module 'laraq.testing' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"laraq.testing.{_PLACE[name]}"), name)
    return found
