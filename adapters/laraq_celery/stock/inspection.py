"""BrokerInspection: the `Inspection` port for any broker of an app."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from laraq.errors import ConfigurationError, InspectionError, LaraqError, NotInspectableError
from laraq.messages.inspection import InspectedJob, QueueState
from laraq.messages.payload import Payload
from laraq.ports import DelayedMessage
from laraq_celery.stock.amqp import DeclaringBrowser
from laraq_celery.stock.browser import Browser, Draining, Found
from laraq_celery.stock.delays import Delays
from laraq_celery.stock.delays.written import read
from laraq_celery.stock.draining import drain
from laraq_celery.stock.message import inspected, payload_of
from laraq_celery.stock.redis import RedisBrowser


class BrokerInspection:
    """Uses a new connection of the pool for each query, because an answer may close its channel."""

    def __init__(
        self,
        pool: Callable[[], Any],
        delays: Delays | None = None,
        discard: Callable[[Sequence[Payload], str, Collection[str]], object] | None = None,
    ) -> None:
        #: Returns kombu's ConnectionPool for the broker; called at each use, because a fork has its own pools.
        self._pool = pool
        #: The broker's delayed jobs in the store.
        self._delays = delays
        #: Settles jobs that are dropped (`Discards.notify`); None if they are not settled.
        self._discard = discard

    def size(self, queue: str) -> int:
        """The number of jobs in all states that the broker can count."""
        with self._browser() as browser:
            return browser.size(queue) + (self._keeps.count(queue) if self._keeps else 0)

    def count(self, queue: str, state: QueueState) -> int:
        """The number of jobs in that state."""
        with self._browser() as browser:
            if state is not QueueState.DELAYED or not self._keeps:
                return browser.count(queue, state)
            with suppress(NotInspectableError):  # about the short delays, which a worker waits for
                return self._keeps.count(queue) + browser.count(queue, state)
        return self._keeps.count(queue)

    def jobs(self, queue: str, state: QueueState, limit: int | None = None) -> Sequence[InspectedJob]:
        """The jobs in that state, next first."""
        with self._browser() as browser:
            if state is not QueueState.DELAYED or not self._keeps:
                return [inspected(queue, found) for found in browser.messages(queue, state, limit)]
            found = _as_found(self._keeps.waiting(queue, limit))
            with suppress(NotInspectableError):  # as in `count`
                found += browser.messages(queue, state, None if limit is None else limit - len(found))
            return [inspected(queue, one) for one in found]

    def clear(self, queue: str) -> int:
        """Drop all jobs that can be dropped. With `discard`: unreserved jobs, each page after it is settled."""
        if self._discard is None:
            with self._browser() as browser:
                return browser.clear(queue) + (self._keeps.clear(queue) if self._keeps else 0)
        try:
            return self._drain(queue)
        except _UntoldError as error:
            raise error.reason from error.reason.__cause__

    def _drain(self, queue: str) -> int:
        # Jobs that become due meanwhile move from the first place to the last.
        dropped = self._keeps.clear(queue, lambda waiting: self._notify(_as_found(waiting))) if self._keeps else 0
        with self._channel() as channel:
            driver = channel.connection.client.transport.driver_type
            browser = browser_of(channel, driver)
            if isinstance(browser, Draining):
                return dropped + browser.drain(queue, self._notify)
            # No more than there are now: notifications may lead to callbacks, which are added to the queue.
            ready = DeclaringBrowser(channel, driver).size(queue)
        with self._channel() as channel:  # a refusal has closed the previous one
            return dropped + drain(channel, queue, ready, self._notify)

    def _notify(self, found: Sequence[Found]) -> None:
        assert self._discard is not None
        known = [job for one in found if (job := payload_of(one)) is not None]
        begun = frozenset(payload.id for payload, may_have_begun in known if may_have_begun)
        try:
            self._discard([payload for payload, _ in known], "was cleared from its queue", begun)
        except LaraqError as error:
            raise _UntoldError(error) from error

    def restore(self, queues: Sequence[str] = ()) -> Sequence[tuple[str, int, int]]:
        """Put the jobs that laraq's broker keeps beside the lists of a stock broker on those lists; return (queue,
        number of delayed, number of reserved) for each queue that had some."""
        with self._channel() as channel:
            restore = getattr(channel, "restore", None)
            if restore is None:
                url = channel.connection.client.as_uri()
                raise ConfigurationError(
                    f"The broker at {url} is a stock one: there is nothing to put back. Name the app or connection"
                    " whose URL is laraq-redis://."
                )
            return [tuple(row) for row in restore(queues)]

    @property
    def _keeps(self) -> Delays | None:
        """The delayed jobs in the store, if this broker keeps them there."""
        return self._delays if self._delays is not None and self._delays.store is not None else None

    @contextmanager
    def _browser(self) -> Iterator[Browser]:
        with self._channel() as channel:
            yield browser_of(channel, channel.connection.client.transport.driver_type)

    @contextmanager
    def _channel(self) -> Iterator[Any]:
        connection, where = None, "The broker"
        # Not `with`: in kombu 5.7 an exception would leave the connection in the pool, closed.
        try:
            connection = self._pool().acquire(block=True)
            where = f"The broker at {connection.as_uri()}"
            connection.ensure_connection(max_retries=1, interval_start=0)
            with connection.channel() as channel:
                yield channel
        except _UntoldError:
            raise
        except Exception as error:  # from any library behind the transport
            if isinstance(error, LaraqError) and not (connection and isinstance(error, connection.connection_errors)):
                raise
            if connection is None and isinstance(error, ValueError):
                # Its text quotes the supposed port, which may be a part of the password.
                raise InspectionError("The broker cannot be asked about its queues: its URL cannot be read.") from None
            raise InspectionError(
                f"{where} cannot be asked about its queues ({error}). Check that it runs and that the URL is right."
            ) from error
        finally:
            if connection is not None:
                connection.release()


class _UntoldError(Exception):
    """Settling failed, which is not an error of the broker, although the broker's errors may be StoreErrors, too."""

    def __init__(self, reason: LaraqError) -> None:
        self.reason = reason
        super().__init__(str(reason))


def _as_found(waiting: Sequence[DelayedMessage]) -> list[Found]:
    return [(read(message), 0, None) for message in waiting]


def browser_of(channel: Any, driver: str) -> Browser:
    """The browser for the broker behind a channel."""
    own = getattr(channel, "browser", None)
    if own is not None:
        browser: Browser = own()
        return browser
    return RedisBrowser(channel) if driver == "redis" else DeclaringBrowser(channel, driver)
