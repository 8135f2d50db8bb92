"""Engines that were used before a fork."""

from __future__ import annotations

import os

from sqlalchemy import create_engine, text
from sqlalchemy.orm import sessionmaker

from laraq_sqlalchemy.orm.models import SqlAlchemyModels
from tests.sqlalchemy.podcasts import Author, Base


def test_a_child_does_not_write_to_the_connections_of_its_parent(postgres_url: str) -> None:
    engine = create_engine(postgres_url, pool_size=1, max_overflow=0)
    Base.metadata.create_all(engine)
    models = SqlAlchemyModels(sessionmaker(engine))
    me = text("SELECT pg_backend_pid()")
    of_parent = models.session().scalar(me)
    models.close()

    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            models.fetch(Author, [{"id": 1}])
            once = models.session().scalar(me)
            models.close()
            again = models.session().scalar(me)
            os.write(writer, f"{once} {again}".encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as report:
        of_child = report.read().split()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    assert of_child[0] != str(of_parent)
    assert of_child[0] == of_child[1], "the child keeps its own pool"
    assert models.session().scalar(me) == of_parent, "the parent's connection is unharmed"
    models.close()
    engine.dispose()
