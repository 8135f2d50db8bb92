"""Jobs wait for the commit of a Session."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, event, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from laraq.errors import DispatchError
from laraq_sqlalchemy.orm.transactions import SqlAlchemyTransactions
from tests.sqlalchemy.podcasts import Author
from tests.sqlalchemy.post import Post, author, authors


@pytest.fixture
def sessions(engine: Engine) -> sessionmaker[Session]:
    return sessionmaker(engine)


@pytest.fixture
def post(sessions: sessionmaker[Session]) -> Post:
    return Post(SqlAlchemyTransactions(sessions))


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
