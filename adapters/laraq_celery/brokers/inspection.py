"""BrokerInspection: the `Inspection` port for whatever broker an app has."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from kombu.exceptions import OperationalError

from laraq.errors import InspectionError
from laraq.inspection import InspectedJob, QueueState
from laraq_celery.brokers.amqp import DeclaringBrowser
from laraq_celery.brokers.browser import Browser
from laraq_celery.brokers.message import inspected
from laraq_celery.brokers.redis import RedisBrowser


class BrokerInspection:
    """Takes a connection out of the pool for each question, since the answer to one may close its channel."""

    def __init__(self, pool: Callable[[], Any]) -> None:
        #: Gives kombu's ConnectionPool of the broker; called at each use, for a fork has pools of its own.
        self._pool = pool

    def size(self, queue: str) -> int:
        """Jobs in any state the broker can count."""
        with self._browser() as browser:
            return browser.size(queue)

    def count(self, queue: str, state: QueueState) -> int:
        """Jobs in that state."""
        with self._browser() as browser:
            return browser.count(queue, state)

    def jobs(self, queue: str, state: QueueState, limit: int | None = None) -> Sequence[InspectedJob]:
        """The jobs in that state, next one first."""
        with self._browser() as browser:
            return [inspected(queue, found) for found in browser.messages(queue, state, limit)]

    def clear(self, queue: str) -> int:
        """Drop what can be dropped."""
        with self._browser() as browser:
            return browser.clear(queue)

    @contextmanager
    def _browser(self) -> Iterator[Browser]:
        # Not `with`: in kombu 5.7 an exception would leave the connection in the pool, closed.
        connection = self._pool().acquire(block=True)
        try:
            connection.ensure_connection(max_retries=1, interval_start=0)
            with connection.channel() as channel:
                yield _browser_of(channel, connection.transport.driver_type)
        except (OperationalError, *connection.connection_errors, *connection.channel_errors) as error:
            raise InspectionError(
                f"The broker at {connection.as_uri()} cannot be asked about its queues ({error})."
                " Check that it runs and that the URL is right."
            ) from error
        finally:
            connection.release()


def _browser_of(channel: Any, driver: str) -> Browser:
    own = getattr(channel, "browser", None)
    if own is not None:
        browser: Browser = own()
        return browser
    return RedisBrowser(channel) if driver == "redis" else DeclaringBrowser(channel, driver)
