"""CeleryQueue: Payload -> one ordinary Celery message.

Celery writes the first message of each Job class (`template.py`) and sends all unusual ones; `publisher.py` fills in
and sends the others, one by one or in bulk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from celery import Celery, Task
from celery.utils.quorum_queues import detect_quorum_queues
from kombu import pools
from kombu.exceptions import EncodeError, KombuError
from kombu.transport import get_transport_cls
from kombu.utils.url import maybe_sanitize_url

from laraq.errors import ConfigurationError, DispatchError, InvalidJobError, LaraqError, StoreError
from laraq.messages.payload import CIPHER, MAYBE, Payload
from laraq.process.forks import busy
from laraq_celery.sending.publisher import InDoubtError, Publisher, UnconfirmedError
from laraq_celery.sending.template import HIDDEN
from laraq_celery.stock.delays import Delays
from laraq_celery.stock.inspection import BrokerInspection
from laraq_celery.worker.expiry import expiring_by_header


class CeleryQueue:
    """Publishes to the app's broker, or with `url` to another one through its own pool of producers."""

    immediate = False

    def __init__(self, app: Celery, name: str, url: str | None = None, queue: str | None = None) -> None:
        self.name = name
        self._app = app
        self._url = url
        self._queue = queue
        self._connection: Any = None
        self.publisher = Publisher(app, url, self._lend)
        #: Its delayed jobs in the store.
        self.delays = Delays(app, url, self._producers)

    @property
    def inspection(self) -> BrokerInspection:
        """The inspection of the broker's queues."""
        discards = self._app.laraq.discards
        return BrokerInspection(lambda: self._producers().connections, self.delays, discards.notify)

    def joined(self, session: Any) -> JoinedQueue | None:
        """This queue as part of the session's transaction; None unless the broker lives in the session's database."""
        with self._wrapped(""):
            producer = self._session_producer(session)
        return None if producer is None else JoinedQueue(self, producer)

    def push(self, payload: Payload, delay: float = 0) -> Any:
        """Send the job and return Celery's result object, or a function that creates it: most callers do not need it.

        Raises DispatchError when the broker does not accept it, InvalidJobError when a value is not JSON.
        """
        with self._wrapped(payload.job):
            wait = self.delays.seconds(delay, payload.carrier)
            if not wait:
                with busy:
                    return self._send(payload, delay)
        return self._keep([(payload, wait)])

    def bulk(self, payloads: Sequence[tuple[Payload, float]]) -> None:
        """Send many jobs by the broker's best method: many in one command, or confirmed together.

        Raises DispatchError with the number of jobs that are not known to have arrived, InvalidJobError.
        """
        job, what = payloads[0][0].job, f"{len(payloads)} jobs were not sent"
        with self._wrapped(job, what):
            waits = [self.delays.seconds(delay, payload.carrier) for payload, delay in payloads]
        if any(waits):
            self._keep([(payload, wait) for (payload, _), wait in zip(payloads, waits, strict=True) if wait])
            payloads = [one for one, wait in zip(payloads, waits, strict=True) if not wait]
        if not payloads:
            return
        with self._wrapped(job, what), busy:
            if self.publisher.bulk(payloads, self._queue):
                return
            with self._producers().acquire(block=True) as producer, _unconfirmed(payloads), _kombu_batch(producer):
                for payload, delay in payloads:
                    self._publish(payload, delay, {"producer": producer})

    def default_queue(self) -> str:
        """The connection's queue, else the app's."""
        return self._queue or str(self._app.conf.task_default_queue)

    def _keep(self, waiting: Sequence[tuple[Payload, float]]) -> Any:
        """Keep jobs in the store, as messages that Celery writes as if they were sent now; return the last result."""
        sent = None
        with (
            self._wrapped(waiting[0][0].job, f"{len(waiting)} delayed jobs were not sent"),
            self.delays.producer() as producer,
        ):
            for payload, producer.after in waiting:
                carrier = {name: value for name, value in payload.carrier.items() if name != "eta"}
                sent = self._publish(payload.with_(carrier=carrier), 0, {"producer": producer})
        return sent

    def _send(self, payload: Payload, delay: float, producer: Any = None) -> Any:
        try:
            sent = self.publisher.push(payload, self._queue, delay, producer)
        except InDoubtError as doubt:
            sent, payload = None, payload.with_(once=MAYBE, carrier={**payload.carrier, **doubt.again})
        if sent is not None:
            return sent
        if producer is not None:
            return self._publish(payload, delay, {"producer": producer})
        if self._url is None:
            return self._publish(payload, delay, {})
        with self._producers().acquire(block=True) as producer:
            return self._publish(payload, delay, {"producer": producer})

    def _publish(self, payload: Payload, delay: float, options: dict[str, Any]) -> Any:
        """Send the job by Celery's own method."""
        headers = {**payload.carrier.get("headers", {}), "laraq": payload.to_header()}
        options = {**payload.carrier, **options, "headers": headers}
        if queue := payload.queue or self._queue:
            options["queue"] = queue
        if delay and "eta" not in options:
            options["countdown"] = self.countdown(delay)
        if CIPHER in payload.fields:
            options["argsrepr"] = options["kwargsrepr"] = HIDDEN
        task = self._app.tasks.get(payload.job)
        options = expiring_by_header(self._app, task, options)
        args, fields = payload.args, dict(payload.fields)
        if task is None:
            return self._app.send_task(payload.job, args, fields, task_id=payload.id, **options)
        # The method of Task, not of this task: the latter's `apply_async` leads to the dispatcher that called this.
        return Task.apply_async(task, args, fields, task_id=payload.id, **options)

    def countdown(self, delay: float) -> float:
        """The countdown for Celery 5.7 on quorum queues: whole seconds, as 0 < countdown < 1 is a ValueError."""
        if delay < 1 and detect_quorum_queues(self._app, self._driver_type())[0]:
            return 1
        return delay

    def _session_producer(self, session: Any) -> Any:
        """A producer that writes through the session, if this broker lives in its database."""
        scheme = str(self._url or self._app.conf.broker_write_url or self._app.conf.broker_url).partition(":")[0]
        if not scheme.startswith("laraq-"):
            return None
        session_producer = getattr(get_transport_cls(scheme.partition("+")[0]), "session_producer", None)
        if session_producer is None or self._url is not None:
            return None
        try:
            return session_producer(self._app, session)
        except ConfigurationError:
            return None  # the session is of another or an unknown database

    def _driver_type(self) -> str:
        return str(self._app.connection_for_write(self._url).transport.driver_type)

    def _lend(self) -> Any:
        """A context manager with a connection of the pool."""
        return self._app.connection_or_acquire() if self._url is None else self._producers().connections.acquire(True)

    def _producers(self) -> Any:
        if self._url is None:
            return self._app.amqp.producer_pool
        if self._connection is None:
            self._connection = self._app.connection_for_write(self._url)
        return pools.producers[self._connection]

    @contextmanager
    def _wrapped(self, job: str, what: str = "") -> Iterator[None]:
        """Convert any error of a library during sending to a DispatchError; `what` names several jobs."""
        what = what or (f"Job {job} was not sent" if job else "Jobs were not sent")
        try:
            yield
        except EncodeError as error:
            raise InvalidJobError(job, f"Job {job} was not sent: {error}") from error
        except UnconfirmedError as error:
            self._not_sent(f"{error.missing} of {error.total} jobs may not have been sent", error.__cause__)
        except StoreError as error:
            raise DispatchError(f"{what}: {error}") from error
        except LaraqError:
            raise
        except Exception as error:
            if self._app.conf.task_always_eager:
                raise  # the job's own error: Celery has run it eagerly, and is set to propagate exceptions
            self._not_sent(what, error)

    def _not_sent(self, what: str, error: BaseException | None) -> NoReturn:
        url = self._url or self._app.conf.broker_write_url or self._app.conf.broker_url or "amqp://"
        try:
            where = ";".join(maybe_sanitize_url(one) for one in (url.split(";") if isinstance(url, str) else url))
        except ValueError:
            # The reason would quote a part of the URL, possibly of a password with a slash in it.
            what = f"{what}: the URL of connection {self.name!r} cannot be read"
            raise DispatchError(
                f"{what}. Check its port; special characters of a password are escaped in it, as in %2F."
            ) from None
        where = f"{what}: connection {self.name!r} at {where}"
        if isinstance(error, KombuError | OSError | StoreError):
            raise DispatchError(
                f"{where} does not answer ({error}). Check that the broker runs and that the URL is right."
            ) from error
        # The text of a library's KeyError is of little use without its type.
        raise DispatchError(
            f"{where} cannot be used ({type(error).__name__}: {error})."
            " Check the URL, that its transport is installed, and what its user may do."
        ) from error


class JoinedQueue:
    """A queue in the application's database, for as long as one transaction lasts."""

    immediate = False

    def __init__(self, queue: CeleryQueue, producer: Any) -> None:
        self.name = queue.name
        self._queue = queue
        self._producer = producer

    def push(self, payload: Payload, delay: float = 0) -> Any:
        """Add the message to the transaction and return Celery's result object."""
        with self._queue._wrapped(payload.job):
            return self._queue._send(payload, delay, self._producer)

    def bulk(self, payloads: Sequence[tuple[Payload, float]]) -> None:
        """Add the messages to the transaction; the session writes them at its next flush, in one statement."""
        for payload, delay in payloads:
            self.push(payload, delay)

    def default_queue(self) -> str:
        """The default queue of the connection itself."""
        return self._queue.default_queue()


@contextmanager
def _kombu_batch(producer: Any) -> Iterator[None]:
    """kombu 5.7's pipelined publishing where the transport has it."""
    if getattr(producer, "supports_batch_publish", False):
        with producer.batch(max_size=500):
            yield
    else:
        yield


@contextmanager
def _unconfirmed(payloads: Sequence[Any]) -> Iterator[None]:
    """Send one message after the other: an error does not show how many were sent before it."""
    try:
        yield
    except (EncodeError, LaraqError):
        raise
    except Exception as error:
        raise UnconfirmedError(len(payloads), len(payloads), error) from error
