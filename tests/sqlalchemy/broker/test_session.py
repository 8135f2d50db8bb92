"""Messages as part of the application's transaction."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from laraq.errors import ConfigurationError
from laraq_sqlalchemy.broker import session_producer
from laraq_sqlalchemy.broker.store import TableStore
from tests.sqlalchemy.broker.celery_app import DatabaseProject
from tests.support.waiting import wait_until

Send = Callable[[Any, str], None]


@pytest.fixture
def engine(sql_url: str) -> Iterator[Engine]:
    engine = create_engine(sql_url)
    yield engine
    engine.dispose()


@pytest.fixture
def store(open_stores: Callable[[str], TableStore], sql_url: str) -> TableStore:
    return open_stores(sql_url)


@pytest.fixture
def app(sql_url: str) -> Iterator[Celery]:
    app = Celery("app", broker=f"laraq-db+{sql_url}", set_as_current=False)
    yield app
    app.close()


@pytest.fixture
def send(app: Celery, store: TableStore) -> Send:
    """Sends one message with a name through a session."""

    def send_one(session: Any, name: str, **options: Any) -> None:
        app.send_task("note", (name,), producer=session_producer(app, session), **options)

    return send_one


def names(store: TableStore) -> list[str]:
    taken = store.take(["celery"], 100)
    return [json.loads(json.loads(job.payload)["body"])[0][0] for job in taken.jobs]


def test_a_message_comes_with_the_commit_and_not_before(engine: Engine, store: TableStore, send: Send) -> None:
    with Session(engine) as session:
        send(session, "x")
        session.flush()
        assert store.count("celery").total == 0
        session.commit()
    assert names(store) == ["x"]


def test_a_rollback_takes_it_back(engine: Engine, store: TableStore, send: Send) -> None:
    with Session(engine) as session:
        send(session, "x")
        session.rollback()
        session.commit()
    assert names(store) == []


def test_a_savepoint_takes_back_its_own_only(engine: Engine, store: TableStore, send: Send) -> None:
    with Session(engine) as session:
        send(session, "1")
        with session.begin_nested():
            send(session, "2")
        undone = session.begin_nested()
        send(session, "3")
        undone.rollback()
        send(session, "4")
        session.commit()
    assert names(store) == ["1", "2", "4"]


def test_a_delay_counts_from_the_servers_clock(engine: Engine, store: TableStore, send: Any) -> None:
    with Session(engine) as session:
        send(session, "x", countdown=40)
        session.commit()
    taken = store.step((), ["celery"], 1)
    assert not taken.jobs
    assert taken.next_due == pytest.approx(40, abs=2)


def test_a_scoped_session_is_the_session_it_stands_for(engine: Engine, store: TableStore, send: Send) -> None:
    scoped = scoped_session(sessionmaker(engine))
    send(scoped, "x")
    scoped.commit()
    scoped.remove()
    assert names(store) == ["x"]


def test_another_database_is_refused(app: Celery, tmp_path: Path) -> None:
    other = create_engine(f"sqlite:///{tmp_path / 'other.db'}")
    with Session(other) as session, pytest.raises(ConfigurationError, match="one database"):
        session_producer(app, session)
    other.dispose()


def test_another_broker_is_refused(engine: Engine) -> None:
    with Session(engine) as session, pytest.raises(ConfigurationError, match="laraq-db"):
        session_producer(Celery("app", broker="memory://", set_as_current=False), session)


def test_an_exchange_is_refused(engine: Engine, send: Any) -> None:
    with Session(engine) as session, pytest.raises(ConfigurationError, match="straight to a queue"):
        send(session, "x", exchange="news", routing_key="a.b", exchange_type="topic", retry=False)


def test_an_async_session(postgres_url: str, open_stores: Callable[[str], TableStore]) -> None:
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    store = open_stores(postgres_url)
    app = Celery("app", broker=f"laraq-db+{postgres_url}", set_as_current=False)

    async def work() -> None:
        engine = create_async_engine(postgres_url)
        async with AsyncSession(engine) as session:
            app.send_task("note", ("lost",), producer=session_producer(app, session))
            await session.rollback()
            app.send_task("note", ("kept",), producer=session_producer(app, session))
            undone = await session.begin_nested()
            app.send_task("note", ("undone",), producer=session_producer(app, session))
            await undone.rollback()
            await session.commit()
        await engine.dispose()

    asyncio.run(work())
    assert names(store) == ["kept"]


@pytest.mark.serial
def test_an_idle_worker_starts_the_job_right_after_the_commit(tmp_path: Path, sqlite_url: str) -> None:
    project = DatabaseProject(tmp_path, sqlite_url)
    with project.worker():
        project.python(
            """
            import proj, sqlalchemy, time
            from sqlalchemy.orm import Session
            from laraq_sqlalchemy.broker import session_producer
            with Session(sqlalchemy.create_engine(proj.app.conf.broker_url.removeprefix("laraq-db+"))) as session:
                session.execute(sqlalchemy.text("CREATE TABLE orders (id INTEGER)"))
                proj.note.apply_async(("x",), producer=session_producer(proj.app, session))
                session.execute(sqlalchemy.text("INSERT INTO orders VALUES (1)"))
                time.sleep(0.3)
                session.commit()
                proj.mark(commit=1)
            """
        )
        wait_until(lambda: project.marks("end"), timeout=10)
    (start,), (commit,) = project.marks("start"), project.marks("commit")
    assert start["at"] - commit["at"] < 1
    engine = create_engine(sqlite_url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM orders")).scalar() == 1
    engine.dispose()


@pytest.mark.fault
@pytest.mark.serial
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_who_dies_before_the_commit_sent_nothing_and_right_after_it_everything(
    tmp_path: Path, request: pytest.FixtureRequest, database: str
) -> None:
    """The second one woke nobody: an idle worker finds the job at its next look."""
    project = DatabaseProject(tmp_path, request.getfixturevalue(f"{database}_url"), poll=1.5)
    send = """
        import os, sys, proj, sqlalchemy
        from sqlalchemy import event
        from sqlalchemy.orm import Session
        from laraq_sqlalchemy.broker import session_producer
        session = Session(sqlalchemy.create_engine(proj.app.conf.broker_url.removeprefix("laraq-db+")))
        event.listen(session, "after_commit", lambda session: os._exit(0))  # before the workers are woken
        proj.note.apply_async((sys.argv[1],), producer=session_producer(proj.app, session))
        if sys.argv[1] == "before":
            session.flush()
            os._exit(0)
        session.commit()
    """
    with project.worker():
        project.python("import proj; proj.note.delay('first')")
        wait_until(lambda: project.names("end") == ["first"], timeout=15)
        project.python(send, "before")
        project.python(send, "after")
        wait_until(lambda: len(project.names("end")) == 2, timeout=10)
        wait_until(lambda: project.count().total == 0)
    assert project.names("start") == ["first", "after"]
