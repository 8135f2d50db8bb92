"""Broker, store and application in one database: dispatches are part of the application's transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session, sessionmaker

from laraq import Bus, Events, Job, Laraq, Queue, dispatch, events
from laraq.errors import DispatchError, StoreError


class Ship(Job):
    n: int

    def handle(self) -> None: ...


class Bill(Job):
    n: int

    unique = True

    def unique_id(self) -> str:
        return str(self.n % 10)

    def handle(self) -> None: ...


class Refresh(Job):
    debounce_for = 60

    def handle(self) -> None: ...


@pytest.fixture
def engine(sql_url: str) -> Iterator[Engine]:
    engine = create_engine(sql_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE orders (n INTEGER)"))
    yield engine
    engine.dispose()


@pytest.fixture
def sessions(engine: Engine) -> sessionmaker[Session]:
    return sessionmaker(engine)


@pytest.fixture
def queue(sql_url: str, sessions: Any) -> Iterator[Laraq]:
    app = Celery("t", broker=f"laraq-db+{sql_url}", set_as_current=False)
    laraq = Laraq(app, sessions=sessions, store=sql_url)
    laraq.migrate()
    with laraq:
        yield laraq
    laraq.store.close()
    app.close()


pytestmark = pytest.mark.usefixtures("queue")


def order(session: Session) -> None:
    session.execute(text("INSERT INTO orders VALUES (1)"))


def numbers() -> list[int]:
    """The jobs that workers can see."""
    return sorted(job.payload["kwargs"]["n"] for job in [*Queue.pending_jobs(), *Queue.delayed_jobs()])


def test_a_bulk_is_part_of_the_transaction(sessions: Any) -> None:
    with sessions.begin() as session:
        order(session)
        sent = Bus.bulk([Ship(1), Bill(2), Bill(12), Ship(3).after_commit()])
        assert numbers() == []
        assert [one.skipped for one in sent] == [False, False, True, False]
        with session.begin_nested() as savepoint:
            Bus.bulk([Ship(4), Bill(5)])
            savepoint.rollback()
    assert numbers() == [1, 2, 3]
    assert Bill.dispatch(2).skipped
    assert not Bill.dispatch(5).skipped, "the savepoint took its lock along"


def test_a_named_session_is_joined(engine: Engine, sessions: Any) -> None:
    """Also one that is not watched, while another one is open."""
    with Session(engine) as named:
        order(named)
        with sessions() as ambient:
            ambient.begin()
            dispatch(Ship(1), session=named)
        assert numbers() == []
        savepoint = named.begin_nested()
        dispatch(Ship(2), session=named)
        savepoint.rollback()
        dispatch(Ship(3).after_commit(), session=named)
        named.commit()
        assert numbers() == [1, 3]
        dispatch(Ship(4), session=named)
        assert numbers() == [1, 3, 4], "no transaction is open there: at once"


def test_what_joined_is_told_at_once_and_what_waits_at_the_commit(sessions: Any) -> None:
    told: list[str] = []
    with Events.listening(events.JobQueued, lambda event: told.append(event.id)), sessions.begin() as session:
        order(session)
        joined, late = Ship.dispatch(1), Ship(2).after_commit().dispatch()
        assert told == [joined.id]
        session.commit()
        assert told == [joined.id, late.id]


@pytest.mark.parametrize("sql_url", ["postgres", "mariadb"], indirect=True)
def test_before_commit_sends_outside_of_the_transaction(sessions: Any) -> None:
    with sessions() as session:
        order(session)
        Ship(1).before_commit().dispatch()
        Bus.bulk([Ship(2).before_commit(), Ship(3)])
        assert numbers() == [1, 2]
        session.rollback()
    assert numbers() == [1, 2]


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_the_lock_of_a_unique_job_goes_with_the_transaction(sessions: Any, end: str) -> None:
    """On SQLite it is taken through the session, whose transaction has the only right to write."""
    with sessions() as session:
        order(session)
        first = Bill.dispatch(1)
        assert Bill.dispatch(11) == type(first)(first.id, skipped=True)
        late = Bill(2).after_commit().dispatch()
        Refresh.dispatch()
        Refresh.dispatch()
        assert not late.skipped
        getattr(session, end)()
    jobs = [*Queue.pending_jobs(), *Queue.delayed_jobs()]
    assert {job.id for job in jobs} >= ({first.id, late.id} if end == "commit" else set())
    assert len(jobs) == (4 if end == "commit" else 0)
    assert Bill.dispatch(1).skipped is (end == "commit")
    assert Bill.dispatch(2).skipped is (end == "commit")


@pytest.mark.parametrize("sql_url", ["sqlite"], indirect=True)
def test_a_store_without_tables_gets_them_in_the_transaction(sql_url: str, sessions: Any, queue: Laraq) -> None:
    with sessions.begin() as session:
        for name in session.scalars(text("SELECT name FROM sqlite_master WHERE name LIKE 'laraq%'")).all():
            if name in ("laraq_locks", "laraq_migrations"):
                session.execute(text(f"DROP TABLE {name}"))
        Bill.dispatch(1)
    assert Bill.dispatch(1).skipped


@pytest.mark.parametrize("sql_url", ["sqlite"], indirect=True)
def test_what_cannot_pass_an_open_write_of_the_same_file_says_what_to_do(
    sessions: Any, monkeypatch: pytest.MonkeyPatch, queue: Laraq, sql_url: str
) -> None:
    monkeypatch.setattr("laraq_sqlalchemy.database.sqlite.BUSY_TIMEOUT", 0.1)
    short = Celery("t", broker=f"laraq-db+{sql_url}", set_as_current=False)
    with Laraq(short, sessions=sessions, store=sql_url), sessions() as session:
        order(session)
        with pytest.raises(DispatchError, match="after_commit"):
            Ship(1).before_commit().dispatch()
        with pytest.raises(StoreError, match="after_commit"):
            Bill(1).before_commit().dispatch()
    assert numbers() == []


@pytest.mark.parametrize("sql_url", ["postgres"], indirect=True)
def test_jobs_of_an_async_session_are_part_of_its_transaction(postgres_url: str) -> None:
    from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

    engine = create_async_engine(postgres_url)
    maker = async_sessionmaker(engine)
    plain = sessionmaker(create_engine(postgres_url))
    app = Celery("t", broker=f"laraq-db+{postgres_url}", set_as_current=False)

    async def work() -> None:
        async with maker.begin() as session:
            await session.execute(text("CREATE TABLE IF NOT EXISTS orders (n INTEGER)"))
        async with maker.begin() as session:
            await session.execute(text("INSERT INTO orders VALUES (1)"))
            Bus.bulk([Ship(1), Bill(2)])
            Ship.dispatch(3)
            undone = await session.begin_nested()
            Ship.dispatch(4)
            await undone.rollback()
            assert numbers() == []
        await engine.dispose()

    with Laraq(app, sessions=[plain, maker], store=postgres_url) as laraq:
        laraq.migrate()
        asyncio.run(work())
        assert numbers() == [1, 2, 3]
        laraq.store.close()
    app.close()
