"""InTests: what a test asks of a job whose `handle` it calls itself (Illuminate/Queue/InteractsWithQueue.php)."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self

from laraq.errors import NotInQueueError
from laraq.jobs.interactions import Interactions
from laraq.messages.delivery import Delivery
from laraq.messages.options import Delay, delay_seconds
from laraq.messages.payload import Payload
from laraq.process import clock

if TYPE_CHECKING:
    from laraq.testing import BatchFake


class InTests:
    """Part of every job; of no use outside of tests."""

    _interactions: Interactions | None
    _fake_batch: Any = None

    def with_fake_queue_interactions(self, attempts: int = 1) -> Self:
        """Let `release()`, `fail()` and `delete()` be called without a worker, and be asserted afterwards.

        job = ChargeOrder(7).with_fake_queue_interactions()
        job.handle()
        job.assert_released(delay=30)

        What `handle` is not given is injected.
        """
        name, queue = self.job_name(), self.queue  # type: ignore[attr-defined] # of Job
        payload = Payload(str(uuid.uuid4()), name)
        self._interactions = Interactions(Delivery(payload, attempts, str(queue or "default"), "testing"))
        self._inject()
        return self

    def with_fake_batch(self, **values: Any) -> tuple[Self, BatchFake]:
        """Let `batch()` give a batch that is only in memory; the keywords are those of `laraq.testing.BatchFake`.

        job, batch = ImportRows(1).with_fake_batch()
        job.handle()
        assert batch.added == [ImportRows(2)]
        """
        self._fake_batch = import_module("laraq.testing").BatchFake(**values)
        self._inject()
        return self, self._fake_batch

    def assert_released(self, delay: Delay | None = None) -> None:
        """It called `release()`, with that delay if one is given."""
        __tracebackhide__ = True
        released = self._faked("assert_released").released
        if released is None:
            raise AssertionError(f"Expected {self!r} to be released, but it was not.{self._outcome()}")
        wanted = released.delay if delay is None else delay_seconds(delay, clock.moment())
        if abs(released.delay - wanted) > 0.5:
            raise AssertionError(f"Expected {self!r} to be released with {wanted:g} s.{self._outcome()}")

    def assert_not_released(self) -> None:
        """It did not call `release()`."""
        __tracebackhide__ = True
        if self._faked("assert_not_released").released is not None:
            raise AssertionError(f"Expected {self!r} not to be released.{self._outcome()}")

    def assert_deleted(self) -> None:
        """It called `delete()`."""
        __tracebackhide__ = True
        if not self._faked("assert_deleted").deleted:
            raise AssertionError(f"Expected {self!r} to be deleted, but it was not.{self._outcome()}")

    def assert_not_deleted(self) -> None:
        """It did not call `delete()`."""
        __tracebackhide__ = True
        if self._faked("assert_not_deleted").deleted:
            raise AssertionError(f"Expected {self!r} not to be deleted.{self._outcome()}")

    def assert_failed(self) -> None:
        """It called `fail()`."""
        __tracebackhide__ = True
        if self._faked("assert_failed").failure is None:
            raise AssertionError(f"Expected {self!r} to fail, but it did not.{self._outcome()}")

    def assert_not_failed(self) -> None:
        """It did not call `fail()`."""
        __tracebackhide__ = True
        if self._faked("assert_not_failed").failure is not None:
            raise AssertionError(f"Expected {self!r} not to fail.{self._outcome()}")

    def assert_failed_with(self, error: type[BaseException] | BaseException | str) -> None:
        """It called `fail()` with an error of that class, of that class and text, or with that text."""
        __tracebackhide__ = True
        self.assert_failed()
        failure = self._faked("assert_failed_with").failure
        assert failure is not None
        actual = failure.error
        if isinstance(error, type):
            fits = isinstance(actual, error)
        elif isinstance(error, str):
            fits = str(actual) == error
        else:
            fits = type(actual) is type(error) and str(actual) == str(error)
        if not fits:
            raise AssertionError(f"Expected {self!r} to fail with {error!r}, but it failed with {actual!r}.")

    def assert_has_chain(self, expected: Sequence[Any]) -> None:
        """Exactly these follow it: classes, jobs with these fields, or `Bus.chained_batch(...)`."""
        __tracebackhide__ = True
        matching, links = import_module("laraq.testing.matching"), self._links()
        if not expected:
            raise ValueError("An expected chain needs a link; use assert_doesnt_have_chain for none.")
        if len(expected) != len(links) or not all(map(matching.same, expected, links)):
            wanted = " -> ".join(map(matching.text_of, expected))
            had = " -> ".join(map(matching.shown, links)) or "nothing"
            raise AssertionError(f"Expected {self!r} to be followed by {wanted}, but it is followed by {had}.")

    def assert_doesnt_have_chain(self) -> None:
        """Nothing follows it."""
        __tracebackhide__ = True
        if links := self._links():
            had = " -> ".join(map(import_module("laraq.testing.matching").shown, links))
            raise AssertionError(f"Expected {self!r} to be followed by nothing, but it is followed by {had}.")

    def _inject(self) -> None:
        if "handle" not in vars(self):
            vars(self)["handle"] = import_module("laraq.testing.by_hand").by_hand(self)

    def _links(self) -> list[Any]:
        rest = self._rest  # type: ignore[attr-defined] # of Job
        prepended, appended = ([], []) if self._interactions is None else (
            self._interactions.prepended, self._interactions.appended
        )  # fmt: skip
        return [*prepended, *(rest.jobs if rest is not None else ()), *appended]

    def _faked(self, verb: str) -> Interactions:
        if self._interactions is None:
            raise NotInQueueError(f"{verb}() of {self!r} needs with_fake_queue_interactions() before handle().")
        return self._interactions

    def _outcome(self) -> str:
        run = self._interactions
        assert run is not None
        facts = []
        if run.released is not None:
            facts.append(f"released with {run.released.delay:g} s")
        if run.deleted:
            facts.append("deleted")
        if run.failure is not None:
            facts.append(f"failed with {run.failure.error!r}")
        return f" It was {' and '.join(facts)}." if facts else " Its outcome is open."
