"""A row that is gone when its job arrives."""

from __future__ import annotations

import pytest
from celery import Celery
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

from laraq import Job, Laraq
from laraq.errors import ModelNotFoundError
from laraq.messages.delivery import Done, Fail
from tests.running.runs import delivery, settled


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)


class Bill(Job):
    order: Order

    tries = 5

    def handle(self) -> int:
        return self.order.id


class BillIfThere(Bill):
    delete_when_missing_models = True


@pytest.mark.parametrize("job", [Bill, BillIfThere])
@pytest.mark.parametrize("on_instance", [None, True, False])
def test_a_row_that_is_gone_fails_the_job_or_ends_it_quietly(
    sqlite_url: str, job: type[Bill], on_instance: bool | None
) -> None:
    engine = create_engine(sqlite_url)
    Base.metadata.create_all(engine)
    sessions = sessionmaker(engine)
    app = Celery("m", broker="memory://", set_as_current=False)
    with Laraq(app, store="memory://", sessions=sessions) as queue:
        with sessions.begin() as session:
            order = Order(id=7)
            session.add(order)
            session.flush()
            made = job(order)
            if on_instance is not None:
                made.delete_when_missing_models = on_instance
            arrives = delivery(queue, made)
        assert queue.runner.run(arrives).verdict == Done(7)
        with sessions.begin() as session:
            session.delete(session.get_one(Order, 7))
        run = settled(queue, arrives)
        if on_instance if on_instance is not None else job is BillIfThere:
            assert run.verdict == Done()
            assert not queue.failed.all()
        else:
            assert isinstance(run.verdict, Fail)
            assert isinstance(run.verdict.error, ModelNotFoundError)
            assert len(queue.failed.all()) == 1
    engine.dispose()
