"""session_producer(): messages that are part of the application's own transaction."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Protocol

from amqp.protocol import queue_declare_ok_t
from kombu.connection import Connection
from kombu.messaging import Producer
from sqlalchemy import ColumnElement, event
from sqlalchemy.exc import UnboundExecutionError
from sqlalchemy.orm import Session, registry

from laraq.errors import ConfigurationError
from laraq_kombu import Posting
from laraq_kombu.channel import Carrier
from laraq_kombu.routing import RoutingChannel
from laraq_sqlalchemy.broker.aliases import ALIAS
from laraq_sqlalchemy.broker.store import TableStore
from laraq_sqlalchemy.broker.tables import jobs
from laraq_sqlalchemy.database.clock import now
from laraq_sqlalchemy.database.engine import label

if TYPE_CHECKING:
    from celery import Celery
    from sqlalchemy.ext.asyncio import AsyncSession

#: Key under which a session keeps the queues to wake once it commits.
_WAKE = "laraq_wake"


class TableCarrier(Carrier, Protocol):
    """The part of the broker's transport that is needed."""

    store: TableStore


class JobRow:
    """A row of `laraq_jobs` as an object, so that the session writes it at its next flush and drops it with the
    savepoint or transaction it was added in. Added, never read: that also works in an AsyncSession, where
    nothing may touch the database outside of its own `await`."""

    def __init__(self, posting: Posting, now: ColumnElement[int]) -> None:
        self.queue = posting.queue
        self.priority = posting.priority
        self.payload = posting.payload
        self.available_at = now + int(posting.delay * 1000)
        self.created_at = now
        self.attempts = 0


registry().map_imperatively(JobRow, jobs, eager_defaults=False)


class SessionChannel(RoutingChannel):
    """A channel that only publishes into a session: it opens no connection to the broker, because with SQLite that
    connection would wait for the same transaction in which it is used."""

    supports_batch_publish = False  # a batch is written over the broker's own connection; the session has its own

    def __init__(self, connection: TableCarrier, session: Session) -> None:
        super().__init__(connection)
        self._session = session
        bind = session.get_bind(JobRow)
        self._now = now(bind.dialect.name)

    def _get_free_channel_id(self) -> int:
        return 0  # never opened, so never closed: it must not use up the connection's channel numbers

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        self._session.add(JobRow(self.posting(queue, message), self._now))
        _wake_after_commit(self._session, queue, self.open_transport)

    def _lookup(self, exchange: str, routing_key: str, default: str | None = None) -> list[str]:
        if exchange:
            raise ConfigurationError(
                f"In a session a message goes straight to a queue, not through exchange {exchange!r}:"
                " send it after the commit, or to a queue with a direct exchange."
            )
        return [routing_key]

    def queue_declare(self, queue: str | None = None, passive: bool = False, **kwargs: Any) -> queue_declare_ok_t:
        return queue_declare_ok_t(queue or "", 0, 0)

    def exchange_declare(self, *args: Any, **kwargs: Any) -> None:
        """Nothing to do: consumers declare."""

    def queue_bind(self, *args: Any, **kwargs: Any) -> None:
        """Nothing to do: consumers bind."""

    def typeof(self, exchange: str, default: str = "direct") -> Any:
        return super().typeof("", default)


def session_producer(app: Celery, session: Session | AsyncSession | Any) -> Producer:
    """A producer for `task.apply_async(..., producer=...)` whose messages are part of the session's transaction: they
    commit or roll back with it, including savepoints. Workers are notified after the commit.

    Accepts a Session, an AsyncSession or a scoped one; raises ConfigurationError if its database is not the broker's.
    """
    scope = getattr(session, "registry", None)
    inner: Any = scope() if callable(scope) else session
    inner = getattr(inner, "sync_session", inner)
    transport = _transport(app)
    _same_database(inner, transport)
    producer: Producer = app.amqp.Producer(SessionChannel(transport, inner), auto_declare=False)
    return producer


#: One for each app: waking workers may need a connection to the database, which is worth keeping.
_transports: weakref.WeakKeyDictionary[Celery, tuple[Connection, TableCarrier]] = weakref.WeakKeyDictionary()


def _transport(app: Celery) -> TableCarrier:
    if app not in _transports:
        connection: Connection = app.connection_for_write()
        if connection.transport_cls != ALIAS:
            raise ConfigurationError(
                f"Only the database broker can take part in a session's transaction, and the broker is"
                f" {connection.as_uri()}: set broker_url to laraq-db+<URL of the session's database>."
            )
        transport: TableCarrier = connection.transport
        _transports[app] = (connection, transport)
        weakref.finalize(app, transport.store.close)
    return _transports[app][1]


def _same_database(session: Session, transport: TableCarrier) -> None:
    try:
        theirs, ours = session.get_bind(JobRow).engine.url, transport.store.url
    except UnboundExecutionError as error:
        raise ConfigurationError(
            "The session has an engine for each class and none for the table of the broker: give it bind= as well."
        ) from error
    same = [(url.get_backend_name(), url.host, url.port, url.database) for url in (theirs, ours)]
    if same[0] != same[1]:
        raise ConfigurationError(
            f"The session works on {label(theirs)}, the broker on {label(ours)}: one transaction needs one database."
        )


def _wake_after_commit(session: Session, queue: str, transport: TableCarrier) -> None:
    if _WAKE not in session.info:
        session.info[_WAKE] = {}
        event.listen(session, "after_commit", _wake)
        event.listen(session, "after_rollback", _forget)
    session.info[_WAKE].setdefault(transport, set()).add(queue)


def _wake(session: Session) -> None:
    if session.in_nested_transaction():  # a savepoint was released: nothing is visible yet
        return
    for transport, queues in session.info[_WAKE].items():
        transport.store.hint(list(queues))
    session.info[_WAKE].clear()


def _forget(session: Session) -> None:
    if not session.in_nested_transaction():
        session.info[_WAKE].clear()
