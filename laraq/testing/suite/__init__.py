"""One conformance suite per port: an adapter is done when a subclass of its suite passes."""

from pkgutil import iter_modules

import pytest

# Before the imports, so that a failed assert in a suite shows its values as one in a test module does.
pytest.register_assert_rewrite(*(module.name for module in iter_modules(__path__, f"{__name__}.")))

from laraq.testing.suite.batches import BatchesSuite, SharedBatchesSuite  # noqa: E402  # see above
from laraq.testing.suite.cache import CacheSuite, SharedCacheSuite  # noqa: E402  # see above
from laraq.testing.suite.delayed import DelayedSuite, SharedDelayedSuite  # noqa: E402  # see above
from laraq.testing.suite.failed_jobs import FailedJobsSuite, SharedFailedJobsSuite  # noqa: E402  # see above
from laraq.testing.suite.journal import JournalSuite, SharedJournalSuite  # noqa: E402
from laraq.testing.suite.limits import LimitsSuite, SharedLimitsSuite  # noqa: E402  # see above
from laraq.testing.suite.locks import LocksSuite, SharedLocksSuite  # noqa: E402  # see above
from laraq.testing.suite.parking import ParkingSuite, SharedParkingSuite  # noqa: E402  # see above
from laraq.testing.suite.store import SharedStoreSuite, StoreSuite  # noqa: E402

__all__ = [
    "BatchesSuite",
    "CacheSuite",
    "DelayedSuite",
    "FailedJobsSuite",
    "JournalSuite",
    "LimitsSuite",
    "LocksSuite",
    "ParkingSuite",
    "SharedBatchesSuite",
    "SharedCacheSuite",
    "SharedDelayedSuite",
    "SharedFailedJobsSuite",
    "SharedJournalSuite",
    "SharedLimitsSuite",
    "SharedLocksSuite",
    "SharedParkingSuite",
    "SharedStoreSuite",
    "StoreSuite",
]
