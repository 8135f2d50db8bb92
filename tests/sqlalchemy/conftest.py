from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import sessionmaker

from laraq_sqlalchemy.orm.models import SqlAlchemyModels
from tests.sqlalchemy.podcasts import Base


@pytest.fixture
def engine(sql_url: str) -> Iterator[Engine]:
    """Each database in turn, with the tables of `podcasts`."""
    engine = create_engine(sql_url)
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def sqlite_engine(sqlite_url: str) -> Iterator[Engine]:
    """For what does not depend on the database."""
    engine = create_engine(sqlite_url)
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def models(engine: Engine) -> Iterator[SqlAlchemyModels]:
    models = SqlAlchemyModels(sessionmaker(engine))
    yield models
    models.close()


@pytest.fixture
def sqlite_models(sqlite_engine: Engine) -> Iterator[SqlAlchemyModels]:
    models = SqlAlchemyModels(sessionmaker(sqlite_engine))
    yield models
    models.close()
