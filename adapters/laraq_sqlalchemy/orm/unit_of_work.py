"""The session of the running job."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, scoped_session

from laraq.errors import ConfigurationError
from laraq_sqlalchemy.database.inherited_pools import InheritedPools

logger = logging.getLogger(__name__)

#: `sessionmaker`, `scoped_session`, or any other callable that returns a Session.
SessionFactory = Callable[[], Session]

#: The reason why an async factory alone is not enough.
SYNCHRONOUS = (
    "laraq loads models through a synchronous Session, and an async engine cannot lend one: its connections belong"
    " to an event loop. Register a synchronous factory for the same database, beside the async one if there is one:"
    " sessions=[sessionmaker(create_engine('<URL with a synchronous driver>')), AsyncSessions]."
)


def is_async(factory: SessionFactory) -> bool:
    """Whether it is an `async_sessionmaker` or `async_scoped_session`."""
    # An application with such a factory has imported this module; importing it here would fail without greenlet.
    asyncio_orm: Any = sys.modules.get("sqlalchemy.ext.asyncio")
    return asyncio_orm is not None and isinstance(
        factory, asyncio_orm.async_sessionmaker | asyncio_orm.async_scoped_session
    )


class UnitOfWork:
    """One session, opened at its first use; several threads of a job get the same one."""

    def __init__(self, factory: SessionFactory, pools: InheritedPools, outer: UnitOfWork | None = None) -> None:
        self.factory = factory
        self._pools = pools
        #: The unit of work of the job that runs this one with `dispatch_sync`.
        self.outer = outer
        self._session: Session | None = None
        #: A `scoped_session` may already have one here, say of the web request that runs a job at once
        #: (`dispatch_sync`). It is used as it is; to commit, roll back or close it is up to the request.
        self._borrowed = False
        self._lock = threading.Lock()

    def session(self) -> Session:
        """The session; a new one after `close`."""
        with self._lock:
            if self._session is None:
                self._borrowed = isinstance(self.factory, scoped_session) and self.factory.registry.has()
                session = self.factory()
                if not isinstance(session, Session):
                    raise ConfigurationError(f"The session factory gave {type(session).__name__}. {SYNCHRONOUS}")
                self._pools.leave(session)
                self._session = session
            return self._session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """The session for a few queries, in a transaction that ends with them.

        A job may work for an hour on the models it was sent with. Without this its first query would leave the
        connection "idle in transaction" all that time, and `with session.begin():` in the job would be refused.
        A transaction that was open before stays open.
        """
        session = self.session()
        ends_here = not self._borrowed and not session.in_transaction()
        yield session
        if ends_here:
            self._commit_without_expiring(session)

    def close(self) -> None:
        """Roll back what the job did not commit, and return the connection to the pool; the rows become detached.

        Never raises for a lost database: the job is over, and its commits are kept.
        """
        with self._lock:
            session, self._session = self._session, None
        if session is None or self._borrowed:
            return
        try:
            session.close()
        except SQLAlchemyError:
            logger.warning("The transaction of a finished job could not be rolled back.", exc_info=True)
        if isinstance(self.factory, scoped_session):
            self._unregister(self.factory, session)

    @staticmethod
    def _commit_without_expiring(session: Session) -> None:
        expire_on_commit = session.expire_on_commit
        session.expire_on_commit = False
        try:
            session.commit()
        finally:
            session.expire_on_commit = expire_on_commit

    @staticmethod
    def _unregister(scope: scoped_session[Session], session: Session) -> None:
        """Empty the scope, unless another thread calls this and its scope has its own session."""
        if scope.registry.has() and scope.registry() is session:
            scope.remove()
