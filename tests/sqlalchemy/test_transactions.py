"""Jobs wait for the commit of a Session."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, event, func, insert, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from laraq.errors import ConfigurationError, DispatchError
from laraq_sqlalchemy.transactions import SqlAlchemyTransactions
from tests.sqlalchemy.podcasts import Author, Base


class Post:
    """Sends letters after the commit and writes down what becomes of them."""

    def __init__(self, transactions: SqlAlchemyTransactions) -> None:
        self.transactions = transactions
        self.sent: list[str] = []
        self.dropped: list[str] = []
        self.on_send: Callable[[], None] = lambda: None

    def dispatch(self, letter: str, session: Any = None) -> None:
        def send() -> None:
            self.on_send()
            self.sent.append(letter)

        if not self.transactions.defer(send, lambda: self.dropped.append(letter), session):
            send()

    @property
    def fate(self) -> tuple[list[str], list[str]]:
        return self.sent, self.dropped


@pytest.fixture
def sessions(engine: Engine) -> sessionmaker[Session]:
    return sessionmaker(engine)


@pytest.fixture
def post(sessions: sessionmaker[Session]) -> Post:
    return Post(SqlAlchemyTransactions(sessions))


def author(id: int = 1) -> Author:
    return Author(id=id, name="Ada")


def authors(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(Author)) or 0


# One session


def test_a_job_is_sent_when_the_commit_is_visible_to_others(
    engine: Engine, sessions: sessionmaker[Session], post: Post
) -> None:
    seen: list[int] = []
    post.on_send = lambda: seen.append(authors(engine))
    with sessions.begin() as session:
        session.add(author())
        post.dispatch("a")
        session.flush()
        assert post.sent == []
    assert (post.sent, seen) == (["a"], [1])


def test_a_rollback_drops_it(engine: Engine, sessions: sessionmaker[Session], post: Post) -> None:
    with sessions() as session:
        session.add(author())
        post.dispatch("a")
        session.rollback()
        assert post.fate == ([], ["a"])
        session.commit()
    assert post.fate == ([], ["a"])
    assert authors(engine) == 0


def test_closing_without_commit_drops_it(sessions: sessionmaker[Session], post: Post) -> None:
    with sessions() as session:
        session.add(author())
        session.flush()
        post.dispatch("a")
    assert post.fate == ([], ["a"])


@pytest.mark.parametrize("begin", ["sessionmaker", "session", "autobegin"])
def test_an_exception_drops_it(sessions: sessionmaker[Session], post: Post, begin: str) -> None:
    def work() -> None:
        if begin == "sessionmaker":
            with sessions.begin():
                post.dispatch("a")
                raise RuntimeError
        with sessions() as session:
            if begin == "session":
                with session.begin():
                    post.dispatch("a")
                    raise RuntimeError
            session.add(author())
            post.dispatch("a")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        work()
    assert post.fate == ([], ["a"])


def test_a_flush_that_fails_drops_what_waits_with_the_rollback(sessions: sessionmaker[Session], post: Post) -> None:
    with sessions() as session:
        session.add(author(1))
        session.commit()
    with sessions() as session:
        session.add(author(1))
        post.dispatch("a")
        with pytest.raises(IntegrityError):
            session.commit()
        session.rollback()
        session.add(author(2))
        post.dispatch("b")
        session.commit()
    assert post.fate == (["b"], ["a"])


def test_a_commit_that_fails_in_a_listener_drops_it(sessions: sessionmaker[Session], post: Post) -> None:
    def veto(session: Session) -> None:
        raise RuntimeError("no")

    event.listen(sessions, "before_commit", veto)
    with sessions() as session:
        session.add(author())
        post.dispatch("a")
        with pytest.raises(RuntimeError, match="no"):
            session.commit()
        assert post.sent == []
    assert post.fate == ([], ["a"])


def test_after_the_commit_a_job_is_sent_at_once(sessions: sessionmaker[Session], post: Post) -> None:
    with sessions() as session:
        session.add(author())
        session.commit()
        post.dispatch("a")
        assert post.sent == ["a"]
        session.add(author(2))
        post.dispatch("b")
        assert post.sent == ["a"]
        session.commit()
    assert post.sent == ["a", "b"]


def test_without_a_transaction_it_is_sent_at_once(sessions: sessionmaker[Session], post: Post) -> None:
    with sessions():
        post.dispatch("a")
        assert post.sent == ["a"]


def test_the_session_can_be_used_while_its_jobs_are_sent(sessions: sessionmaker[Session], post: Post) -> None:
    with sessions() as session:
        session.add(author())
        post.on_send = lambda: seen.append(session.scalars(select(Author.name)).one())
        seen: list[str] = []
        post.dispatch("a")
        session.commit()
    assert (post.sent, seen) == (["a"], ["Ada"])


def test_an_error_of_the_broker_leaves_the_commit_and_the_transaction_stands(
    engine: Engine, sessions: sessionmaker[Session], post: Post
) -> None:
    def refuse() -> None:
        raise DispatchError("broker down")

    with sessions() as session:
        session.add(author())
        post.transactions.defer(refuse, lambda: post.dropped.append("a"))
        post.dispatch("b")
        with pytest.raises(DispatchError, match="broker down"):
            session.commit()
    assert post.fate == (["b"], [])
    assert authors(engine) == 1
    with sessions.begin() as session:
        session.add(author(2))
        post.dispatch("c")
    assert post.sent == ["b", "c"]


# Savepoints


def test_a_released_savepoint_waits_for_the_outermost_commit(sessions: sessionmaker[Session], post: Post) -> None:
    with sessions.begin() as session:
        with session.begin_nested():
            post.dispatch("a")
        assert post.sent == []
        post.dispatch("b")
    assert post.fate == (["a", "b"], [])


def test_a_savepoint_that_rolls_back_drops_its_own_jobs_only(sessions: sessionmaker[Session], post: Post) -> None:
    with sessions.begin() as session:
        post.dispatch("a")
        savepoint = session.begin_nested()
        post.dispatch("b")
        savepoint.rollback()
        assert post.dropped == ["b"]
        post.dispatch("c")
    assert post.fate == (["a", "c"], ["b"])


def test_an_outer_rollback_drops_the_jobs_of_a_released_savepoint(sessions: sessionmaker[Session], post: Post) -> None:
    with sessions() as session:
        with session.begin_nested():
            post.dispatch("a")
        session.rollback()
    assert post.fate == ([], ["a"])


def test_nested_savepoints_each_decide_about_their_own(sessions: sessionmaker[Session], post: Post) -> None:
    with sessions.begin() as session:
        with session.begin_nested():
            post.dispatch("a")
            with session.begin_nested():
                post.dispatch("b")
            undone = session.begin_nested()
            post.dispatch("c")
            undone.rollback()
        outer = session.begin_nested()
        with session.begin_nested():
            post.dispatch("d")
        session.begin_nested()
        post.dispatch("e")
        outer.rollback()
        post.dispatch("f")
    assert post.fate == (["a", "b", "f"], ["c", "e", "d"])


def test_committing_the_session_releases_the_open_savepoints(sessions: sessionmaker[Session], post: Post) -> None:
    with sessions() as session:
        session.begin_nested()
        post.dispatch("a")
        session.begin_nested()
        post.dispatch("b")
        session.commit()
        assert post.sent == ["a", "b"]


# Which session


@pytest.mark.parametrize(
    "change",
    [
        lambda session: session.add(author(2)),
        lambda session: session.execute(insert(Author).values(id=2, name="Bob")),
        lambda session: session.execute(text("UPDATE author SET name = 'Bob'")),
        lambda session: session.bulk_save_objects([author(2)]),
        lambda session: setattr(session.get(Author, 1), "name", "Bob"),
        lambda session: [session.add(author(2)), session.flush()],
        lambda session: session.delete(session.get(Author, 1)),
        lambda session: session.begin_nested(),
    ],
    ids=["add", "insert", "text", "bulk", "changed", "flushed", "delete", "savepoint"],
)
def test_a_transaction_begun_by_itself_counts_from_its_first_change(
    sessions: sessionmaker[Session], post: Post, change: Callable[[Session], object]
) -> None:
    with sessions.begin() as session:
        session.add(author(1))
    with sessions() as session:
        session.scalars(select(Author)).all()
        session.execute(text("SELECT 1"))
        post.dispatch("while reading")
        assert post.sent == ["while reading"]
        change(session)
        post.dispatch("a")
        assert post.sent == ["while reading"]
        session.commit()
    assert post.fate == (["while reading", "a"], [])


def test_a_session_that_changed_something_before_its_last_commit_reads_again(
    sessions: sessionmaker[Session], post: Post
) -> None:
    with sessions() as session:
        session.add(author())
        session.commit()
        session.scalars(select(Author)).all()
        post.dispatch("a")
        assert post.sent == ["a"]


def test_of_two_sessions_the_one_begun_last_decides(sessions: sessionmaker[Session], post: Post) -> None:
    with sessions() as outer:
        outer.begin()
        with sessions.begin():
            post.dispatch("inner")
        assert post.sent == ["inner"]
        post.dispatch("outer")
        assert post.sent == ["inner"]
        outer.rollback()
    assert post.fate == (["inner"], ["outer"])


def test_what_one_session_committed_is_sent_outside_of_the_transaction_of_another(
    sessions: sessionmaker[Session], post: Post
) -> None:
    """A broker in the same database would write the job into it."""
    open_sessions: list[Session | None] = []
    post.on_send = lambda: open_sessions.append(post.transactions.open_session())
    with sessions() as outer:
        outer.begin()
        with sessions.begin() as inner:
            post.dispatch("inner")
            assert post.transactions.open_session() is inner
        assert post.transactions.open_session() is outer
        outer.rollback()
    assert (post.sent, open_sessions) == (["inner"], [None])


def test_a_session_that_only_reads_does_not_stand_before_one_that_writes(
    sessions: sessionmaker[Session], post: Post
) -> None:
    with sessions.begin(), sessions() as reading:
        reading.scalars(select(Author)).all()
        post.dispatch("a")
        reading.close()
        assert post.sent == []
    assert post.sent == ["a"]


def test_a_session_that_is_named_decides(sessions: sessionmaker[Session], post: Post) -> None:
    with sessions() as named, sessions() as other:
        named.scalars(select(Author)).all()
        other.begin()
        post.dispatch("a", session=named)
        other.rollback()
        assert post.fate == ([], [])
        named.commit()
        assert post.sent == ["a"]
        post.dispatch("b", session=named)
        assert post.sent == ["a", "b"]


def test_sessions_of_another_factory_do_not_count_unless_named(engine: Engine, post: Post) -> None:
    with Session(engine) as stranger, stranger.begin():
        post.dispatch("a")
        assert post.sent == ["a"]
        post.dispatch("b", session=stranger)
        with stranger.begin_nested():
            post.dispatch("c", session=stranger)
        undone = stranger.begin_nested()
        post.dispatch("d", session=stranger)
        undone.rollback()
        assert post.sent == ["a"]
    assert post.fate == (["a", "b", "c"], ["d"])


def test_a_scoped_session_stands_for_the_session_of_its_scope(sessions: sessionmaker[Session], engine: Engine) -> None:
    scoped = scoped_session(sessionmaker(engine))
    post = Post(SqlAlchemyTransactions(scoped))
    scoped.add(author())
    post.dispatch("a")
    post.dispatch("b", session=scoped)
    assert post.sent == []
    scoped.commit()
    assert post.sent == ["a", "b"]
    scoped.remove()


@pytest.mark.parametrize("kind", ["class", "callable"])
def test_a_class_or_any_callable_can_be_a_factory(engine: Engine, kind: str) -> None:
    class Own(Session):
        pass

    post = Post(SqlAlchemyTransactions(Own if kind == "class" else lambda: Own(engine)))
    with Own(engine) as session, session.begin():
        post.dispatch("a")
        assert post.sent == []
    assert post.sent == ["a"]


def test_a_factory_registered_twice_sends_once(sessions: sessionmaker[Session], post: Post) -> None:
    again = SqlAlchemyTransactions(sessions, lambda: sessions())
    with sessions.begin() as session:
        with session.begin_nested():
            post.dispatch("a")
        again.defer(lambda: post.sent.append("b"), lambda: None)
    assert post.sent == ["a", "b"]


def test_only_sessions_are_handled(sessions: sessionmaker[Session], post: Post) -> None:
    assert not post.transactions.handles(object())
    assert not post.transactions.handles(sessions)
    with sessions() as session:
        assert post.transactions.handles(session)


def test_a_forgotten_session_is_let_go_and_reported(sqlite_engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    sessions = sessionmaker(sqlite_engine)
    post = Post(SqlAlchemyTransactions(sessions))
    session = sessions()
    session.begin()
    post.dispatch("a")
    del session
    gc.collect()
    assert "1 jobs that waited are not sent" in caplog.text
    post.dispatch("b")
    assert post.fate == (["b"], [])


# Threads and tasks


def test_each_thread_has_its_own_transaction(sessions: sessionmaker[Session], post: Post) -> None:
    begun, dispatched = threading.Event(), threading.Event()

    def other() -> None:
        begun.wait(10)
        post.dispatch("other thread")
        dispatched.set()

    thread = threading.Thread(target=other)
    thread.start()
    with sessions.begin():
        post.dispatch("this thread")
        begun.set()
        assert dispatched.wait(10)
        assert post.sent == ["other thread"]
    thread.join()
    assert post.sent == ["other thread", "this thread"]


class Async:
    """An async factory on PostgreSQL; asyncio drivers of the other databases are not installed."""

    def __init__(self, url: str) -> None:
        self.engine: AsyncEngine = create_async_engine(url)
        self.sessions = async_sessionmaker(self.engine)
        self.post = Post(SqlAlchemyTransactions(self.sessions))

    def run(self, work: Callable[[], Any]) -> None:
        async def run() -> None:
            async with self.engine.begin() as connection:
                await connection.run_sync(Base.metadata.create_all)
            await work()
            await self.engine.dispose()

        asyncio.run(run())


@pytest.fixture
def on_asyncio(postgres_url: str) -> Async:
    return Async(postgres_url)


def test_an_async_session_is_followed_through_savepoints_and_commit(on_asyncio: Async) -> None:
    post = on_asyncio.post

    async def work() -> None:
        async with on_asyncio.sessions() as session:
            session.add(author())
            await session.flush()
            post.dispatch("a")
            async with session.begin_nested():
                post.dispatch("b")
            undone = await session.begin_nested()
            post.dispatch("c")
            await undone.rollback()
            assert post.fate == ([], ["c"])
            await session.commit()
            assert post.sent == ["a", "b"]
            session.add(author(2))
            post.dispatch("d")
            await session.rollback()
        async with on_asyncio.sessions.begin():
            post.dispatch("e")

    on_asyncio.run(work)
    assert post.fate == (["a", "b", "e"], ["c", "d"])


def test_tasks_do_not_see_each_others_transactions(on_asyncio: Async) -> None:
    post = on_asyncio.post

    async def work() -> None:
        first_begun, second_done = asyncio.Event(), asyncio.Event()

        async def first() -> None:
            async with on_asyncio.sessions.begin() as session:
                session.add(author())
                await session.flush()
                post.dispatch("first")
                first_begun.set()
                await second_done.wait()
                assert post.sent == ["second", "outside"]

        async def second() -> None:
            await first_begun.wait()
            async with on_asyncio.sessions.begin():
                post.dispatch("second")
            post.dispatch("outside")
            second_done.set()

        await asyncio.gather(first(), second())

    on_asyncio.run(work)
    assert post.fate == (["second", "outside", "first"], [])


def test_a_thread_started_by_the_task_belongs_to_its_transaction(on_asyncio: Async) -> None:
    """So does `adispatch`, which goes to a thread."""
    post = on_asyncio.post

    async def work() -> None:
        async with on_asyncio.sessions.begin() as session:
            await session.execute(text("SELECT 1"))
            await asyncio.to_thread(post.dispatch, "a")
            assert post.sent == []

    on_asyncio.run(work)
    assert post.sent == ["a"]


def test_an_async_session_can_be_named(on_asyncio: Async) -> None:
    post = Post(SqlAlchemyTransactions())

    async def work() -> None:
        scoped = async_scoped_session(async_sessionmaker(on_asyncio.engine), asyncio.current_task)
        async with AsyncSession(on_asyncio.engine) as session, session.begin():
            post.dispatch("a", session=session)
            await scoped.execute(text("SELECT 1"))
            post.dispatch("b", session=scoped)
            await scoped.rollback()
            await scoped.remove()
            assert post.fate == ([], ["b"])

    on_asyncio.run(work)
    assert post.sent == ["a"]


def test_watching_an_async_factory_leaves_other_sessions_alone(on_asyncio: Async) -> None:
    async def work() -> None:
        async with AsyncSession(on_asyncio.engine) as stranger, stranger.begin():
            on_asyncio.post.dispatch("a")
            assert on_asyncio.post.sent == ["a"]

    on_asyncio.run(work)


def test_a_synchronous_factory_within_an_async_one_is_the_one_that_is_watched(
    postgres_url: str, engine: Engine
) -> None:
    sessions = sessionmaker(engine)
    on_asyncio = Async(postgres_url)
    on_asyncio.sessions.configure(sync_session_class=sessions)
    on_asyncio.post = Post(SqlAlchemyTransactions(sessions))

    async def work() -> None:
        async with on_asyncio.sessions.begin():
            on_asyncio.post.dispatch("a")
            assert on_asyncio.post.sent == []

    on_asyncio.run(work)
    assert on_asyncio.post.sent == ["a"]


def test_the_async_session_class_itself_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="async_sessionmaker"):
        SqlAlchemyTransactions(AsyncSession)
