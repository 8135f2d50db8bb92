"""The session that a job shares with the models it was sent with."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from typing import Any

import pytest
from sqlalchemy import Engine, inspect, text
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from laraq.errors import ConfigurationError, NotInQueueError
from laraq_sqlalchemy.orm.models import SqlAlchemyModels, current_session
from tests.sqlalchemy.podcasts import Author, Episode, Podcast


@pytest.fixture(autouse=True)
def serial(request: pytest.FixtureRequest) -> None:
    """Podcast 1, with an episode."""
    if "sqlite_engine" in request.fixturenames or "sqlite_models" in request.fixturenames:
        with Session(request.getfixturevalue("sqlite_engine")) as session:
            session.add(Podcast(id=1, title="Serial", episodes=[Episode(id=1)]))
            session.commit()


def fetch_serial(models: SqlAlchemyModels, *relations: str) -> Podcast:
    [podcast] = models.fetch(Podcast, [{"id": 1, "with": list(relations)}])
    assert isinstance(podcast, Podcast)
    return podcast


def test_all_models_of_a_job_share_one_session(sqlite_models: SqlAlchemyModels) -> None:
    podcast = fetch_serial(sqlite_models)
    assert fetch_serial(sqlite_models) is podcast
    assert inspect(podcast).session is sqlite_models.session() is current_session()


def test_each_job_has_a_session_of_its_own(sqlite_models: SqlAlchemyModels) -> None:
    podcast = fetch_serial(sqlite_models)
    sqlite_models.close()
    assert fetch_serial(sqlite_models) is not podcast


def test_what_a_job_commits_is_kept_and_the_rest_is_not(sqlite_engine: Engine, sqlite_models: SqlAlchemyModels) -> None:
    podcast = fetch_serial(sqlite_models)
    podcast.title = "S-Town"
    current_session().commit()
    podcast.title = "Lost"
    current_session().flush()
    sqlite_models.close()

    with Session(sqlite_engine) as session:
        assert session.get_one(Podcast, 1).title == "S-Town"


def test_rows_stay_readable_after_the_job(sqlite_models: SqlAlchemyModels) -> None:
    podcast = fetch_serial(sqlite_models, "episodes")
    sqlite_models.close()
    assert inspect(podcast).detached
    assert [episode.id for episode in podcast.episodes] == [1]


def test_fetching_leaves_the_connection_to_others(sqlite_engine: Engine, sqlite_models: SqlAlchemyModels) -> None:
    podcast = fetch_serial(sqlite_models, "episodes")
    assert not current_session().in_transaction()
    assert sqlite_engine.pool.checkedin() == 1  # type: ignore[attr-defined]
    assert not inspect(podcast).expired
    assert "episodes" not in inspect(podcast).unloaded
    with current_session().begin():
        podcast.title = "S-Town"


def test_fetching_leaves_a_transaction_of_the_job_open(sqlite_models: SqlAlchemyModels) -> None:
    session = sqlite_models.session()
    session.add(Author(id=1, name="Sarah"))
    session.flush()
    fetch_serial(sqlite_models)
    session.rollback()
    assert session.get(Author, 1) is None


def test_sessions_still_expire_when_the_job_commits(sqlite_models: SqlAlchemyModels) -> None:
    podcast = fetch_serial(sqlite_models)
    current_session().get_one(Podcast, 1)
    current_session().commit()
    assert inspect(podcast).expired


def test_closing_twice_and_closing_nothing_are_fine(sqlite_models: SqlAlchemyModels) -> None:
    sqlite_models.close()
    fetch_serial(sqlite_models)
    sqlite_models.close()
    sqlite_models.close()


def test_outside_of_a_job_there_is_no_current_session(sqlite_models: SqlAlchemyModels) -> None:
    with pytest.raises(NotInQueueError, match="no job here"):
        current_session()
    sqlite_models.open()
    current_session()
    sqlite_models.close()
    with pytest.raises(NotInQueueError):
        current_session()


def test_a_job_inside_a_job_leaves_the_outer_session_alone(sqlite_models: SqlAlchemyModels) -> None:
    sqlite_models.open()
    outer = fetch_serial(sqlite_models)
    outer.title = "not committed yet"

    sqlite_models.open()
    inner = fetch_serial(sqlite_models)
    assert inner is not outer
    sqlite_models.close()
    assert inspect(inner).detached

    assert inspect(outer).session is current_session()
    assert outer in current_session().dirty


def test_a_job_of_another_application_inside_a_job_has_its_own_session(
    sqlite_models: SqlAlchemyModels, sqlite_engine: Engine
) -> None:
    other = SqlAlchemyModels(sessionmaker(sqlite_engine))
    outer = fetch_serial(sqlite_models)
    inner = fetch_serial(other)
    sqlite_models.close()  # not its turn
    assert inspect(inner).session is current_session()
    other.close()
    assert inspect(outer).session is current_session()


def test_a_session_first_used_in_a_task_is_closed_outside_of_it(sqlite_models: SqlAlchemyModels) -> None:
    async def job() -> Session:
        return await asyncio.create_task(ask())

    async def ask() -> Session:
        session = current_session()
        session.scalar(text("SELECT 1"))
        return session

    sqlite_models.open()
    session = asyncio.run(job())
    assert session.in_transaction()
    sqlite_models.close()
    assert not session.in_transaction()


def test_jobs_of_concurrent_tasks_do_not_share_sessions(sqlite_models: SqlAlchemyModels) -> None:
    async def job(everybody: asyncio.Barrier) -> Podcast:
        sqlite_models.open()
        podcast = fetch_serial(sqlite_models)
        await everybody.wait()
        assert inspect(podcast).session is current_session()
        sqlite_models.close()
        return podcast

    async def main() -> list[Podcast]:
        everybody = asyncio.Barrier(3)
        return await asyncio.gather(*(job(everybody) for _ in range(3)))

    assert len(set(map(id, asyncio.run(main())))) == 3


def test_jobs_of_concurrent_threads_do_not_share_sessions(sqlite_models: SqlAlchemyModels) -> None:
    everybody = threading.Barrier(3)

    def job(_: int) -> Session:
        fetch_serial(sqlite_models)
        session = current_session()
        everybody.wait(10)
        assert current_session() is session
        sqlite_models.close()
        return session

    with ThreadPoolExecutor(3) as threads:
        assert len(set(map(id, list(threads.map(job, range(3)))))) == 3


def test_threads_of_one_job_open_one_session(sqlite_engine: Engine) -> None:
    another_one = threading.Barrier(2)

    def slow_factory() -> Session:
        with suppress(threading.BrokenBarrierError):
            another_one.wait(0.3)  # for a second thread to come in here too
        return Session(sqlite_engine)

    models = SqlAlchemyModels(slow_factory)
    models.open()
    with ThreadPoolExecutor(2) as threads:
        asked = [threads.submit(copy_context().run, current_session) for _ in range(2)]
        assert asked[0].result() is asked[1].result()
    models.close()


def test_a_scoped_session_is_the_one_the_job_uses_anyway(sqlite_engine: Engine) -> None:
    sessions = scoped_session(sessionmaker(sqlite_engine))
    models = SqlAlchemyModels(sessions)
    podcast = fetch_serial(models)
    assert inspect(podcast).session is sessions()
    models.close()
    assert inspect(podcast).detached
    assert not sessions.registry.has()


def test_a_scoped_session_in_use_before_the_job_outlives_it(sqlite_engine: Engine) -> None:
    sessions = scoped_session(sessionmaker(sqlite_engine))
    sessions.add(Podcast(id=2, title="of the request, not committed"))
    sessions.flush()

    models = SqlAlchemyModels(sessions)
    [podcast] = models.fetch(Podcast, [{"id": 2}])
    models.close()
    assert podcast is not None
    assert podcast in sessions
    sessions.commit()
    assert podcast.title == "of the request, not committed"
    sessions.remove()


def test_a_scoped_session_closed_from_another_thread_leaves_that_threads_own(sqlite_engine: Engine) -> None:
    sessions = scoped_session(sessionmaker(sqlite_engine))
    models = SqlAlchemyModels(sessions)
    models.open()
    context = copy_context()
    with ThreadPoolExecutor(1) as threads:
        job_session = threads.submit(context.run, models.session).result()
    own = sessions()
    own.scalar(text("SELECT 1"))

    context.run(models.close)
    assert own.in_transaction()
    assert not job_session.in_transaction()
    sessions.remove()
    models.close()


def test_any_callable_may_give_the_sessions(sqlite_engine: Engine) -> None:
    models = SqlAlchemyModels(lambda: Session(sqlite_engine, expire_on_commit=False))
    assert fetch_serial(models).title == "Serial"
    assert not current_session().expire_on_commit
    models.close()


def test_a_factory_of_something_else_is_refused() -> None:
    factory: Any = dict
    models = SqlAlchemyModels(factory)
    with pytest.raises(ConfigurationError, match="gave dict"):
        models.session()
    models.close()


def test_models_are_loaded_with_the_synchronous_factory_and_without_one_not_at_all(sqlite_engine: Engine) -> None:
    pytest.importorskip("greenlet")
    from sqlalchemy.ext.asyncio import async_scoped_session, async_sessionmaker

    asynchronous: Any = async_sessionmaker()
    scoped: Any = async_scoped_session(asynchronous, lambda: 1)
    with pytest.raises(ConfigurationError, match="Register a synchronous factory"):
        SqlAlchemyModels(asynchronous, scoped).session()
    models = SqlAlchemyModels(asynchronous, sessionmaker(sqlite_engine))
    assert models.session().bind is sqlite_engine
    models.close()
