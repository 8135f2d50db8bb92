"""Of several sessions, which one a job waits for; the database makes no difference."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable

import pytest
from sqlalchemy import Engine, insert, select, text
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from laraq_sqlalchemy.orm.transactions import SqlAlchemyTransactions
from tests.sqlalchemy.podcasts import Author
from tests.sqlalchemy.post import Post, author


@pytest.fixture
def engine(sqlite_engine: Engine) -> Engine:
    return sqlite_engine


@pytest.fixture
def sessions(engine: Engine) -> sessionmaker[Session]:
    return sessionmaker(engine)


@pytest.fixture
def post(sessions: sessionmaker[Session]) -> Post:
    return Post(SqlAlchemyTransactions(sessions))


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
