"""SqlAlchemyModels: mapped instances are sent as identifiers and loaded again where the job runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from sqlalchemy import inspect, select, tuple_
from sqlalchemy.engine import URL
from sqlalchemy.exc import DataError, SQLAlchemyError, UnboundExecutionError
from sqlalchemy.orm import Mapper, Session

from laraq.errors import ConfigurationError, NotInQueueError, PayloadError, StoreError
from laraq_sqlalchemy.database.inherited_pools import InheritedPools
from laraq_sqlalchemy.orm.identifier import Identifier
from laraq_sqlalchemy.orm.relationships import loaders
from laraq_sqlalchemy.orm.unit_of_work import SYNCHRONOUS, SessionFactory, UnitOfWork, is_async

#: Key values in one statement. SQLite before 3.32 accepts 999 parameters.
KEY_VALUES_PER_QUERY = 500

_work: ContextVar[UnitOfWork | None] = ContextVar("laraq_sqlalchemy_work", default=None)


def current_session() -> Session:
    """The session of the running job, with which its models were loaded.

    Changes are kept only if the job calls `commit()`. Raises NotInQueueError outside of a job.
    """
    work = _work.get()
    if work is None:
        raise NotInQueueError("There is no job here to have a session; open one with your own session factory.")
    return work.session()


class SqlAlchemyModels:
    """The `Models` port for classes mapped by SQLAlchemy, in any of its styles.

    The first synchronous one of the application's factories is used. It should be the one that writes: on a lagging
    replica, a row committed just before the dispatch looks deleted. A process that only dispatches needs none.
    """

    def __init__(self, *factories: SessionFactory) -> None:
        self._sessions = next((factory for factory in factories if not is_async(factory)), None)
        self._pools = InheritedPools()

    def handles(self, type_: Any) -> bool:
        """Whether `type_` is a mapped class; checks only the class and configures no mapper."""
        return isinstance(type_, type) and isinstance(inspect(type_, raiseerr=False), Mapper)

    def identify(self, instance: Any, relations: bool = True) -> Mapping[str, Any]:
        """A JSON-ready identifier: class, primary key, and names of the loaded relationships if `relations`.

        Sends no SQL. Raises ModelNotIdentifiableError for an instance that was never flushed.
        """
        return Identifier.of(instance, relations).to_json()

    def open(self) -> None:
        """Begin the unit of work of one job; nothing connects before its first use.

        Nested in another one (`dispatch_sync` in a job) it has its own session, and closing it does not affect the
        outer job's. Contexts copied from this one, such as asyncio tasks, share it.
        """
        if self._sessions is None:
            return
        _work.set(UnitOfWork(self._sessions, self._pools, outer=_work.get()))

    def fetch(self, type_: Any, identifiers: Sequence[Mapping[str, Any]]) -> Sequence[Any | None]:
        """The rows in the order of the identifiers, None for missing rows, with the named relationships loaded.

        One query for each class in the identifiers (and 500 key values), and one for each relationship. Raises
        PayloadError for an identifier that cannot be of `type_`, StoreError if the database does not answer.
        """
        expected: Mapper[Any] = inspect(type_)
        asked = [Identifier.from_json(expected, identifier) for identifier in identifiers]
        if not asked:
            return []
        found: dict[tuple[Mapper[Any], tuple[Any, ...]], Any] = {}
        with self._reading(expected) as session:
            for entity in dict.fromkeys(one.entity for one in asked):
                rows = _load(session, entity, [one for one in asked if one.entity is entity])
                found.update(((entity, key), row) for key, row in rows.items())
        return [found.get((one.entity, one.key)) for one in asked]

    def session(self) -> Session:
        """The session of the current unit of work, which is begun if necessary."""
        return self._current().session()

    def close(self) -> None:
        """Roll back and close the session of the current unit of work, if there is one."""
        work = _work.get()
        if work is not None and work.factory is self._sessions:
            _work.set(work.outer)
            work.close()

    def bind(self, container: Any) -> None:
        """Let handlers have `sqlalchemy.orm.Session` injected: the session with which their models were loaded."""
        container.bind(Session, self.session, enter=False)

    def _current(self) -> UnitOfWork:
        if self._sessions is None:
            raise ConfigurationError(
                "Jobs with SQLAlchemy models need sessions to load them with: register the sessionmaker or"
                f" scoped_session of your application, Laraq(app, sessions=...). {SYNCHRONOUS}"
            )
        work = _work.get()
        if work is None or work.factory is not self._sessions:
            work = UnitOfWork(self._sessions, self._pools, outer=work)
            _work.set(work)
        return work

    @contextmanager
    def _reading(self, mapper: Mapper[Any]) -> Iterator[Session]:
        """The session for queries of `mapper`; errors of the database are raised as errors of laraq."""
        model = mapper.class_.__qualname__
        work = self._current()
        try:
            with work.reading() as session:
                self._pools.leave(session, mapper)
                yield session
        except UnboundExecutionError as error:
            raise ConfigurationError(
                f"The registered session factory has no engine for {model}: give it bind= or binds=."
            ) from error
        except (DataError, OverflowError) as error:
            raise PayloadError(f"A primary key of {model} does not fit its column.") from error
        except SQLAlchemyError as error:
            raise StoreError(
                f"{model} could not be read from {_place(work.session(), mapper)} ({type(error).__name__}):"
                " check that the database is up, reachable from this worker, and migrated."
            ) from error


def _load(session: Session, entity: Mapper[Any], asked: Sequence[Identifier]) -> dict[tuple[Any, ...], Any]:
    """The rows by key, each with all relationships named in any of the identifiers."""
    keys = list(dict.fromkeys(one.key for one in asked))
    options = loaders(entity, {name for one in asked for name in one.relations})
    columns = [getattr(entity.class_, entity.get_property_by_column(column).key) for column in entity.primary_key]
    target = columns[0] if len(columns) == 1 else tuple_(*columns)
    rows: dict[tuple[Any, ...], Any] = {}
    size = KEY_VALUES_PER_QUERY // len(columns)
    for start in range(0, len(keys), size):
        values = [key[0] if len(columns) == 1 else key for key in keys[start : start + size]]
        query = select(entity.class_).where(target.in_(values)).options(*options)
        # unique(): a class may load collections with JOIN by default.
        rows.update((inspect(row).identity, row) for row in session.scalars(query).unique())
    if rows.keys() - keys:
        # The database found rows under other spellings of a key: CHAR padding, case, time zones. Only it knows which,
        # so query one by one.
        for key in keys:
            if key not in rows and (row := session.get(entity.class_, key, options=options)) is not None:
                rows[key] = row
    return rows


def _place(session: Session, mapper: Mapper[Any]) -> str:
    """The name of the database for operators, without user or password."""
    url = session.get_bind(mapper).engine.url
    return str(URL.create(url.drivername, host=url.host, port=url.port, database=url.database))
