"""Batches and chains that wait for a commit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session, sessionmaker

from laraq import Bus, Laraq, Queue
from tests.support.line import Line
from tests.workflow.batches.jobs import Note, counts, log, watched


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path / 'shop.db'}")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE orders (n INTEGER)"))
    yield engine
    engine.dispose()


@pytest.fixture
def transactional(engine: Engine, tmp_path: Path) -> Iterator[tuple[Line, Any]]:
    """A line, and sessions whose commits it waits for."""
    sessions = sessionmaker(engine)
    with Line.attached(store=f"sqlite:///{tmp_path / 'store.db'}", sessions=sessions) as line:
        line.laraq.migrate()
        yield line, sessions
        line.laraq.store.close()


def order(session: Session) -> None:
    session.execute(text("INSERT INTO orders VALUES (1)"))


def test_a_batch_may_wait_for_the_commit(transactional: tuple[Line, Any]) -> None:
    line, sessions = transactional
    with sessions() as session:
        order(session)
        batch = watched([Note(1), Note(2)]).after_commit().dispatch()
        assert line.taken == []
        assert (batch.total_jobs, Bus.find_batch(batch.id)) == (2, None)
        session.commit()
    assert len(line.taken) == 3
    line.work()
    assert counts(batch) == (2, 2, 0, True)


def test_a_batch_of_a_transaction_that_rolls_back_is_gone(transactional: tuple[Line, Any]) -> None:
    line, sessions = transactional
    with sessions() as session:
        order(session)
        batch = watched([Note(1)]).after_commit().dispatch()
        session.rollback()
    assert line.taken == []
    assert Bus.find_batch(batch.id) is None


def test_a_batch_that_says_nothing_does_not_wait(transactional: tuple[Line, Any]) -> None:
    line, sessions = transactional
    with sessions() as session:
        order(session)
        Bus.batch([Note(1)]).dispatch()
        assert len(line.taken) == 1
    Bus.batch([Note(2)]).after_commit().dispatch()
    assert len(line.taken) == 2


def test_a_chain_may_wait_for_the_commit(transactional: tuple[Line, Any]) -> None:
    line, sessions = transactional
    for end in ("rollback", "commit"):
        with sessions() as session:
            order(session)
            Bus.chain([Note(1), Note(2)]).after_commit().dispatch()
            assert line.taken == []
            getattr(session, end)()
    line.work()
    assert log == [1, 2]


@pytest.mark.same_file
@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_on_the_embedded_default_a_batch_is_part_of_the_transaction_of_its_file(
    engine: Engine, tmp_path: Path, end: str
) -> None:
    sessions = sessionmaker(engine)
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    app = Celery("t", broker=f"laraq-db+{url}", set_as_current=False)
    with Laraq(app, sessions=sessions, store=url) as laraq:
        laraq.migrate()
        with sessions() as session:
            order(session)
            batch = Bus.batch([Note(1), [Note(2), Note(3)]]).dispatch()
            assert Queue.size() == 0
            getattr(session, end)()
        assert Queue.size() == (2 if end == "commit" else 0)
        found = Bus.find_batch(batch.id)
        assert (found is not None) == (end == "commit")
        assert found is None or found.total_jobs == 3
        laraq.store.close()
    app.close()
