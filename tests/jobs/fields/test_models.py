"""Mapped instances travel as their identifiers and are fetched again."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from laraq import Job
from laraq.errors import JobDefinitionError, ModelNotFoundError
from laraq.jobs.fields.codec import Codec
from laraq.messages.payload import Payload
from laraq_sqlalchemy.orm.models import SqlAlchemyModels
from tests.jobs.fields.jobs import travelled


class Base(DeclarativeBase):
    pass


class Podcast(Base):
    __tablename__ = "podcasts"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]


class Publish(Job):
    podcast: Podcast
    loud: bool = False

    def handle(self) -> None: ...


class PublishAll(Job):
    podcasts: list[Podcast]
    best: Podcast | None = None

    def handle(self) -> None: ...


@pytest.fixture
def sessions(sqlite_url: str) -> Iterator[sessionmaker[Session]]:
    engine = create_engine(sqlite_url)
    Base.metadata.create_all(engine)
    sessions = sessionmaker(engine, expire_on_commit=False)
    with sessions.begin() as session:
        session.add_all(Podcast(id=id, title=title) for id, title in ((1, "one"), (2, "two"), (3, "three")))
    yield sessions
    engine.dispose()


@pytest.fixture
def models_codec(sessions: sessionmaker[Session]) -> Iterator[Codec]:
    models = SqlAlchemyModels(sessions)
    yield Codec(models=lambda: (models,))
    models.close()


def podcast(sessions: sessionmaker[Session], id: int) -> Podcast:
    with sessions() as session:
        return session.get_one(Podcast, id)


def test_a_row_travels_as_its_identifier_and_is_fetched_again(
    models_codec: Codec, sessions: sessionmaker[Session]
) -> None:
    job = Publish(podcast(sessions, 1), True)
    fields = models_codec.dump(job)
    assert "one" not in json.dumps(fields)
    with sessions.begin() as session:
        session.get_one(Podcast, 1).title = "changed meanwhile"
    arrived = models_codec.load(Publish, Payload("1", Publish.job_name(), fields))
    assert (arrived.podcast.title, arrived.loud) == ("changed meanwhile", True)


def test_a_row_that_is_gone_is_told_by_model_and_identifier(
    models_codec: Codec, sessions: sessionmaker[Session]
) -> None:
    fields = models_codec.dump(Publish(podcast(sessions, 2)))
    with sessions.begin() as session:
        session.delete(session.get_one(Podcast, 2))
    with pytest.raises(ModelNotFoundError, match=r"Podcast.*2"):
        models_codec.load(Publish, Payload("1", Publish.job_name(), fields))


def test_a_list_of_rows_keeps_its_order_and_drops_those_that_are_gone(
    models_codec: Codec, sessions: sessionmaker[Session]
) -> None:
    rows = [podcast(sessions, id) for id in (3, 1, 2)]
    fields = models_codec.dump(PublishAll(rows, rows[0]))
    with sessions.begin() as session:
        session.delete(session.get_one(Podcast, 1))
    arrived = models_codec.load(PublishAll, Payload("1", PublishAll.job_name(), fields))
    assert [row.title for row in arrived.podcasts] == ["three", "two"]
    assert arrived.best.title == "three"


def test_an_optional_row_may_be_none(models_codec: Codec) -> None:
    assert travelled(PublishAll([]), models_codec).best is None


def test_a_mapped_class_without_sessions_is_refused_with_what_to_do() -> None:
    with pytest.raises(JobDefinitionError, match="sessions="):
        Codec().dump(Publish(Podcast(id=1, title="one")))
