"""Jobs wait for the commit of an AsyncSession."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import sessionmaker

from laraq.errors import ConfigurationError
from laraq_sqlalchemy.orm.transactions import SqlAlchemyTransactions
from tests.sqlalchemy.podcasts import Base
from tests.sqlalchemy.post import Post, author


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
    postgres_url: str, sqlite_engine: Engine
) -> None:
    sessions = sessionmaker(sqlite_engine)
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
