"""Dispatch and transactions: after the commit on any broker, inside of it on the database broker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session, sessionmaker

from laraq import Bus, Events, Job, Laraq, Queue, dispatch, events
from laraq.errors import DispatchError, InvalidJobError
from laraq.messages.payload import Payload


class Ship(Job):
    n: int

    def handle(self) -> None: ...


class Bill(Job):
    n: int

    after_commit = True
    unique = True

    def handle(self) -> None: ...


@pytest.fixture
def sessions(tmp_path: Path) -> Iterator[Any]:
    engine = create_engine(f"sqlite:///{tmp_path / 'shop.db'}")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE orders (n INTEGER)"))
    yield sessionmaker(engine)
    engine.dispose()


@pytest.fixture
def queue(tmp_path: Path, sessions: Any, request: pytest.FixtureRequest) -> Iterator[Laraq]:
    """On a database broker in a file of its own; `same_file` puts it into the application's."""
    file = "shop.db" if request.node.get_closest_marker("same_file") else "queue.db"
    app = Celery("t", broker=f"laraq-db+sqlite:///{tmp_path / file}", set_as_current=False)
    laraq = Laraq(app, sessions=sessions, store=f"sqlite:///{tmp_path / 'store.db'}")
    with laraq:
        yield laraq
    laraq.store.close()
    app.close()


def order(session: Session) -> None:
    session.execute(text("INSERT INTO orders VALUES (1)"))


@pytest.mark.usefixtures("queue")
def test_an_after_commit_job_is_sent_when_the_transaction_commits(sessions: Any) -> None:
    told: list[str] = []
    with Events.listening(events.JobQueued, lambda event: told.append(event.id)), sessions() as session:
        with session.begin():
            order(session)
            sent = Ship(1).after_commit().dispatch()
            assert (Queue.size(), told) == (0, [])
        assert (Queue.size(), told) == (1, [sent.id])


@pytest.mark.usefixtures("queue")
def test_a_rollback_drops_the_job_and_frees_its_lock(sessions: Any) -> None:
    with sessions() as session:
        order(session)
        assert not Bill.dispatch(1).skipped
        assert Bill.dispatch(2).skipped
        session.rollback()
    assert Queue.size() == 0
    assert not Bill.dispatch(3).skipped
    assert Queue.size() == 1


@pytest.mark.usefixtures("queue")
def test_a_savepoint_that_rolls_back_drops_its_own_jobs_only(sessions: Any) -> None:
    with sessions() as session, session.begin():
        order(session)
        Ship(1).after_commit().dispatch()
        savepoint = session.begin_nested()
        order(session)
        Ship(2).after_commit().dispatch()
        savepoint.rollback()
    assert [job.payload["kwargs"] for job in Queue.pending_jobs()] == [{"n": 1}]


@pytest.mark.usefixtures("queue")
def test_before_commit_and_no_open_transaction_send_at_once(sessions: Any) -> None:
    Ship(1).after_commit().dispatch()
    assert Queue.size() == 1
    with sessions() as session, session.begin():
        order(session)
        Bill(2).before_commit().dispatch()
        assert Queue.size() == 2


@pytest.mark.usefixtures("queue")
def test_bulk_and_named_sessions_wait_too(sessions: Any) -> None:
    with sessions() as named, sessions() as innermost:
        order(named)
        innermost.execute(text("SELECT 1"))
        dispatch(Ship(1).after_commit(), session=named)
        Bus.bulk([Ship(2), Bill(3)])
        innermost.commit()
        named.commit()
    assert sorted(job.payload["kwargs"]["n"] for job in Queue.pending_jobs()) == [1, 2, 3]


class Crates:
    """A connection that writes down what comes together."""

    name = "crates"
    immediate = False

    def __init__(self) -> None:
        self.full = False
        self.taken: list[list[int]] = []

    def push(self, payload: Payload, delay: float = 0) -> None:
        self.bulk([(payload, delay)])

    def bulk(self, payloads: Sequence[tuple[Payload, float]]) -> None:
        if self.full:
            raise DispatchError("no room")
        self.taken.append([payload.fields["n"] for payload, _ in payloads])

    def default_queue(self) -> str:
        return "crates"


def test_a_bulk_that_waits_goes_together(sessions: Any) -> None:
    crates = Crates()
    app = Celery("t", broker="memory://", set_as_current=False)
    with Laraq(app, sessions=sessions, store="memory://", connections={"crates": crates}, default="crates"):
        with sessions.begin() as session:
            order(session)
            Bus.bulk([Bill(1), Ship(2), Ship(3).after_commit(), Bill(4)])
            with session.begin_nested() as savepoint:
                Bus.bulk([Ship(5).after_commit(), Ship(6).after_commit()])
                savepoint.rollback()
            assert crates.taken == [[2]]
        assert crates.taken == [[2], [1, 3]], "the second Bill is the first one's double"
        session = sessions()
        order(session)
        sent = Bus.bulk(Ship(n).after_commit() for n in range(7, 9))
        crates.full = True
        with pytest.raises(DispatchError, match=f"no room.* 2 jobs waited for .*{sent[0].id}, {sent[1].id}"):
            session.commit()
        session.close()
    app.close()


def test_of_a_bulk_with_a_job_that_cannot_be_sent_nothing_is_sent_nor_locked(sessions: Any) -> None:
    crates = Crates()
    app = Celery("t", broker="memory://", set_as_current=False)
    with Laraq(app, store="memory://", connections={"crates": crates}, default="crates"):
        with pytest.raises(InvalidJobError):
            Bus.bulk([Bill(1).before_commit(), Ship("many")])  # type: ignore[arg-type]  # on purpose
        assert crates.taken == []
        assert not Bill(2).before_commit().dispatch().skipped
    app.close()


def test_who_waits_without_sessions_is_told_once_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    crates = Crates()
    app = Celery("t", broker="memory://", set_as_current=False)
    with Laraq(app, store="memory://", connections={"crates": crates}, default="crates"):
        Ship(0).dispatch()
        assert caplog.text == ""
        Ship(1).after_commit().dispatch()
        Ship(2).after_commit().dispatch()
    assert caplog.text.count("Laraq(app, sessions=...)") == 1
    assert crates.taken == [[0], [1], [2]]
    app.close()


def test_a_named_session_needs_no_sessions(sessions: Any) -> None:
    crates = Crates()
    app = Celery("t", broker="memory://", set_as_current=False)
    with Laraq(app, store="memory://", connections={"crates": crates}, default="crates"), sessions() as session:
        order(session)
        dispatch(Ship(1), session=session)
        assert crates.taken == []
        session.commit()
        assert crates.taken == [[1]]
    app.close()


def test_several_factories_may_be_given(sessions: Any, tmp_path: Path) -> None:
    """As an application has them that works both ways."""
    from sqlalchemy.ext.asyncio import async_sessionmaker

    crates, others = Crates(), sessionmaker(create_engine(f"sqlite:///{tmp_path / 'other.db'}"))
    app = Celery("t", broker="memory://", set_as_current=False)
    factories = [async_sessionmaker(), sessions, others]
    with Laraq(app, sessions=factories, store="memory://", connections={"crates": crates}, default="crates"):
        for n, factory in enumerate([sessions, others]):
            with factory.begin():
                Ship(n).after_commit().dispatch()
                assert len(crates.taken) == n
    assert crates.taken == [[0], [1]]
    app.close()


@pytest.mark.same_file
@pytest.mark.usefixtures("queue")
def test_on_the_database_broker_a_dispatch_is_part_of_the_transaction(sessions: Any) -> None:
    Ship.dispatch(0)
    with sessions() as session, session.begin():
        order(session)
        Ship.dispatch(1)
        assert Queue.size() == 1
    assert Queue.size() == 2
    with sessions() as session:
        order(session)
        Ship.dispatch(2)
        session.rollback()
    assert sorted(job.payload["kwargs"]["n"] for job in Queue.pending_jobs()) == [0, 1]


class Once(Job):
    unique = True

    def handle(self) -> None: ...


@pytest.mark.same_file
@pytest.mark.usefixtures("queue")
def test_a_unique_job_of_a_transaction_that_rolls_back_frees_its_lock(sessions: Any) -> None:
    with sessions() as session:
        order(session)
        assert not Once.dispatch().skipped
        session.rollback()
    assert Queue.size() == 0
    assert not Once.dispatch().skipped


@pytest.mark.usefixtures("queue")
def test_the_facade_looks_into_queues_and_clears_them() -> None:
    Ship.dispatch(1)
    Ship(2).with_delay(600).dispatch()
    Ship(3).on_queue("other").dispatch()
    assert (Queue.size(), Queue.pending_size(), Queue.delayed_size(), Queue.reserved_size()) == (2, 1, 1, 0)
    assert [job.name for job in Queue.delayed_jobs()] == [Ship.job_name()]
    assert Queue.size("other") == Queue.size("database:other") == 1
    assert (Queue.clear(), Queue.size(), Queue.size("other")) == (2, 0, 1)
