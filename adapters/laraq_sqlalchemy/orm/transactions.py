"""SqlAlchemyTransactions: lets jobs wait for the commit of a Session."""

from __future__ import annotations

import logging
import re
import weakref
from collections.abc import Callable, Hashable
from contextvars import ContextVar
from typing import Any

from sqlalchemy import TextClause, event
from sqlalchemy.orm import ORMExecuteState, Session, SessionTransaction, SessionTransactionOrigin

from laraq.errors import ConfigurationError
from laraq.sending.after_commit import Held

logger = logging.getLogger("laraq.transactions")

#: Key under which a session keeps its `_Watch`.
_INFO = "laraq_after_commit"

#: Textual SQL has no type that shows what it does; it counts as a change if it contains one of these words.
_CHANGES = re.compile(r"\b(INSERT|UPDATE|DELETE|MERGE|REPLACE|TRUNCATE|CREATE|ALTER|DROP|CALL)\b", re.IGNORECASE)

#: Sessions in a transaction, the one begun last at the end. Weak: this must not keep an unclosed session alive.
#: Copied with the context, so `asyncio.to_thread` and tasks started inside a transaction see it, too.
_begun: ContextVar[tuple[weakref.ref[Session], ...]] = ContextVar("laraq_sqlalchemy_begun", default=())

#: Classes whose sessions are watched, for ever: an application keeps its factories.
_watched: weakref.WeakSet[type[Session]] = weakref.WeakSet()


class SqlAlchemyTransactions:
    """The `Transactions` port for sessions of SQLAlchemy, synchronous or not.

    `factories` are the application's own: `sessionmaker`, `scoped_session`, `async_sessionmaker`,
    `async_scoped_session`, or subclasses of Session; of any other callable nobody can tell what it makes, so with one
    every session of the process is watched. A job that names no session waits for the one whose transaction was begun
    last in this thread or asyncio task and is still open, among the sessions of these factories. A transaction that
    SQLAlchemy began by itself counts from its first change on (a pending or flushed object, an INSERT ...): a session
    that only reads is rarely ever committed, and the job would be gone with its `close()`. Changes made around the
    session, as by `session.connection().execute(...)`, are not seen: `begin()` that session, or name it. A session
    that is named counts in any case, watched or not.

    Sends happen in `commit()`, once the session has let go of its connection; the session is usable again there, and an
    error of the broker leaves `commit()` with the transaction committed.
    """

    def __init__(self, *factories: Callable[..., Any]) -> None:
        self._classes = tuple(_watch_class(_class_of(factory)) for factory in factories)

    def handles(self, session: Any) -> bool:
        """Whether it is a Session, an AsyncSession, or a scoped one of either."""
        return isinstance(_inner(session), Session)

    def defer(self, send: Callable[[], None], on_rollback: Callable[[], None], session: Any = None) -> bool:
        """Hold `send` until the session's outermost transaction commits; see the port."""
        inner = self._ambient() if session is None else _inner(session)
        if inner is None or not inner.in_transaction():
            return False
        watch = _watch_of(inner)
        if not watch.heard:
            # A session of a factory that is not registered.
            _listen(inner)
            watch.heard = True
        watch.hold(_scope(_innermost(inner)), send, on_rollback, inner)
        return True

    def open_session(self, session: Any = None) -> Session | None:
        """The innermost registered session with an open transaction here, or `session` if it is in one."""
        if session is None:
            return self._ambient()
        inner: Session = _inner(session)
        return inner if inner.in_transaction() else None

    def _ambient(self) -> Session | None:
        for reference in reversed(_begun.get()):
            session = reference()
            if session is not None and isinstance(session, self._classes) and _counts(session):
                return session
        return None


class _Watch:
    """The state of one session."""

    def __init__(self, heard: bool) -> None:
        #: Whether its events are received.
        self.heard = heard
        self.held = Held()
        #: Whether the transaction has changed something.
        self.changed = False
        #: The transaction or savepoint that was committed and is about to end.
        self.committed: SessionTransaction | None = None
        self._guarded = False

    def hold(
        self, scope: Hashable, send: Callable[[], None], on_rollback: Callable[[], None], session: Session
    ) -> None:
        """Hold one send; a session that is garbage-collected while jobs wait is reported."""
        self.held.add(scope, send, on_rollback)
        if not self._guarded:
            self._guarded = True
            # Locks are not released there: the collector may run in the middle of a call to the same store.
            weakref.finalize(session, _report_lost, self.held).atexit = False


def _report_lost(held: Held) -> None:
    if held:
        logger.warning("A session was thrown away in an open transaction: %d jobs that waited are not sent.", len(held))


# Which class, which session


def _class_of(factory: Any) -> type[Session]:
    """The class whose events are those of the factory's sessions and, but for plain classes, of no others."""
    factory = getattr(factory, "session_factory", factory)  # a scoped session
    made = getattr(factory, "class_", factory)  # a sessionmaker has a subclass of its own
    if not hasattr(made, "sync_session_class"):
        return made if isinstance(made, type) and issubclass(made, Session) else Session
    if made is factory:
        raise ConfigurationError(
            f"{made.__name__} cannot be watched as a class: give the async_sessionmaker that makes its sessions."
        )
    inner = _class_of(factory.kw.get("sync_session_class", made.sync_session_class))
    if inner is Session:
        inner = type("Session", (Session,), {})
        factory.configure(sync_session_class=inner)
    return inner


def _inner(session: Any) -> Any:
    """The Session of an AsyncSession or a scoped one."""
    scope = getattr(session, "registry", None)
    session = scope() if callable(scope) else session
    return getattr(session, "sync_session", session)


def _watch_of(session: Session) -> _Watch:
    watch: _Watch | None = session.info.get(_INFO)
    if watch is None:
        watch = session.info[_INFO] = _Watch(heard=any(cls in _watched for cls in type(session).__mro__))
    return watch


def _counts(session: Session) -> bool:
    """Whether a job that names no session waits for this session."""
    transaction = session.get_transaction()
    return transaction is not None and (
        transaction.origin is SessionTransactionOrigin.BEGIN
        or session.in_nested_transaction()
        or _watch_of(session).changed
        or bool(session.new or session.deleted or session.dirty)
    )


def _innermost(session: Session) -> SessionTransaction | None:
    """The savepoint, else the outermost transaction; jobs do not wait for transactions that a flush opens itself."""
    return session.get_nested_transaction() or session.get_transaction()


def _scope(transaction: SessionTransaction | None) -> Hashable:
    """The key of an open transaction; the transaction itself would keep its session alive."""
    return id(transaction)


# Events of sessions


def _watch_class(cls: type[Session]) -> type[Session]:
    if not any(known in _watched for known in cls.__mro__):
        _listen(cls)
        _watched.add(cls)
    return cls


def _listen(target: type[Session] | Session) -> None:
    event.listen(target, "after_transaction_create", _on_begin)
    event.listen(target, "do_orm_execute", _on_execute)
    event.listen(target, "after_commit", _on_commit)
    event.listen(target, "after_transaction_end", _on_end)


def _on_begin(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        open_ = [known for known in _begun.get() if (other := known()) is not None and other.in_transaction()]
        _begun.set((*(known for known in open_ if known() is not session), weakref.ref(session)))
    elif not transaction.nested:
        # Only flushes and the bulk methods open a transaction for themselves.
        _watch_of(session).changed = True


def _on_execute(state: ORMExecuteState) -> None:
    statement = state.statement
    changes = _CHANGES.search(statement.text) if isinstance(statement, TextClause) else not state.is_select
    if changes:
        _watch_of(state.session).changed = True


def _on_commit(session: Session) -> None:
    # Also when a savepoint is released.
    _watch_of(session).committed = _innermost(session)


def _on_end(session: Session, transaction: SessionTransaction) -> None:
    """The one event that follows every end: commit, rollback, close, and a failed commit."""
    watch = _watch_of(session)
    committed, watch.committed = watch.committed is transaction, None
    if transaction.parent is None:
        watch.changed = False
        _begun.set(tuple(known for known in _begun.get() if known() is not session))
        if committed:
            _send_outside(watch.held)
        else:
            watch.held.clear()
    elif committed:
        watch.held.release(_scope(transaction), _scope(_around(transaction)))
    else:
        watch.held.drop(_scope(transaction))


def _send_outside(held: Held) -> None:
    """Send outside of other sessions' open transactions: their rollback must not undo the committed jobs."""
    token = _begun.set(())
    try:
        held.send()
    finally:
        _begun.reset(token)


def _around(savepoint: SessionTransaction) -> SessionTransaction | None:
    """The savepoint or transaction that a savepoint is part of."""
    outer = savepoint.parent
    while outer is not None and outer.parent is not None and not outer.nested:
        outer = outer.parent
    return outer
