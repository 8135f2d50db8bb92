"""Mapped instances that are sent in jobs and loaded again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Column, Engine, Integer, Table, create_engine, inspect, text
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    registry,
    relationship,
    sessionmaker,
)

from laraq.errors import ConfigurationError, PayloadError, StoreError
from laraq_sqlalchemy.orm.models import KEY_VALUES_PER_QUERY, SqlAlchemyModels
from tests.sqlalchemy.podcasts import (
    Author,
    Base,
    Day,
    Episode,
    Festival,
    Film,
    Media,
    Podcast,
    Seat,
    Song,
    Sponsor,
    Ticket,
)
from tests.sqlalchemy.statements import Statements

PODCAST = "tests.sqlalchemy.podcasts:Podcast"


def by_id(model: type, *ids: Any) -> list[dict[str, Any]]:
    return [{"model": f"{model.__module__}:{model.__qualname__}", "id": id, "with": []} for id in ids]


def test_mapped_classes_of_every_style_are_handled() -> None:
    class Imperative:
        pass

    mappers = registry()
    mappers.map_imperatively(Imperative, Table("imperative", mappers.metadata, Column("id", Integer, primary_key=True)))
    models = SqlAlchemyModels()

    assert models.handles(Podcast)
    assert models.handles(Ticket)
    assert models.handles(Film)
    assert models.handles(Imperative)


@pytest.mark.parametrize(
    "other", [str, Base, DeclarativeBase, list[Podcast], Podcast | None, Podcast(), None, "Podcast"]
)
def test_everything_else_is_not_handled(other: Any) -> None:
    assert not SqlAlchemyModels().handles(other)


def test_handling_a_class_does_not_resolve_its_relationships() -> None:
    class OtherBase(DeclarativeBase):
        pass

    class Early(OtherBase):
        __tablename__ = "early"
        id: Mapped[int] = mapped_column(primary_key=True)
        later: Mapped[Any] = relationship("NotImportedYet")

    assert SqlAlchemyModels().handles(Early)
    OtherBase.registry.dispose()


def test_an_instance_comes_back_by_its_identifier(engine: Engine, models: SqlAlchemyModels) -> None:
    with Session(engine) as session:
        podcast = Podcast(title="Serial")
        session.add(podcast)
        session.commit()
        identifier = models.identify(podcast)

    [again] = models.fetch(Podcast, [identifier])
    assert again is not None
    assert again is not podcast
    assert again.title == "Serial"


def test_rows_come_in_the_order_asked_with_none_where_one_is_gone(engine: Engine, models: SqlAlchemyModels) -> None:
    with Session(engine) as session:
        session.add_all(Author(id=id, name=f"a{id}") for id in range(1, 6))
        session.commit()

    rows = models.fetch(Author, by_id(Author, 4, 99, 1, 4, 5))
    assert [row and row.name for row in rows] == ["a4", None, "a1", "a4", "a5"]
    assert rows[0] is rows[3]


def test_no_identifiers_need_no_session() -> None:
    def refuse() -> Session:
        raise AssertionError

    assert SqlAlchemyModels(refuse).fetch(Podcast, []) == []


def test_many_rows_take_one_query_for_each_500(engine: Engine, models: SqlAlchemyModels) -> None:
    count = 2 * KEY_VALUES_PER_QUERY + 1
    with Session(engine) as session:
        session.add_all(Author(id=id, name=f"a{id}") for id in range(1, count + 1))
        session.commit()

    with Statements(engine) as statements:
        rows = models.fetch(Author, by_id(Author, *range(count, 0, -1)))
    assert len(statements) == 3
    assert [row and row.id for row in rows] == list(range(count, 0, -1))


def test_a_row_asked_for_many_times_is_asked_once(engine: Engine, models: SqlAlchemyModels) -> None:
    with Session(engine) as session:
        session.add(Author(id=1, name="Sarah"))
        session.commit()

    with Statements(engine) as statements:
        rows = models.fetch(Author, by_id(Author, *[1] * (KEY_VALUES_PER_QUERY + 1)))
    assert len(statements) == 1
    assert len({id(row) for row in rows}) == 1


def test_collections_the_class_itself_joins_are_loaded(engine: Engine, models: SqlAlchemyModels) -> None:
    with Session(engine) as session:
        session.add(Festival(id=1, days=[Day(id=1), Day(id=2)]))
        session.commit()

    [festival] = models.fetch(Festival, [{"id": 1}])
    assert festival is not None
    assert {day.id for day in festival.days} == {1, 2}


def test_composite_keys_take_one_query(engine: Engine, models: SqlAlchemyModels) -> None:
    seats = [Seat(row_letter="A", place=1), Seat(row_letter="A", place=2), Seat(row_letter="B", place=1)]
    with Session(engine) as session:
        session.add_all(seats)
        session.commit()
        identifiers = [models.identify(seat) for seat in seats]

    assert [one["id"] for one in identifiers] == [["A", 1], ["A", 2], ["B", 1]]
    identifiers.insert(1, {**identifiers[0], "id": ["B", 2]})
    with Statements(engine) as statements:
        rows = models.fetch(Seat, identifiers)
    assert len(statements) == 1
    assert [row and (row.row_letter, row.place) for row in rows] == [("A", 1), None, ("A", 2), ("B", 1)]


def test_composite_keys_stay_below_the_limit_of_parameters(engine: Engine, models: SqlAlchemyModels) -> None:
    with Session(engine) as session:
        session.add_all(Seat(row_letter="A", place=place) for place in range(KEY_VALUES_PER_QUERY))
        session.commit()

    with Statements(engine) as statements:
        rows = models.fetch(Seat, by_id(Seat, *(["A", place] for place in range(KEY_VALUES_PER_QUERY))))
    assert len(statements) == 2
    assert None not in rows


def test_relationships_that_were_loaded_are_loaded_in_full(engine: Engine, models: SqlAlchemyModels) -> None:
    with Session(engine) as session:
        episodes = [Episode(id=1, sponsor=Sponsor(name="Mail")), Episode(id=2)]
        session.add(Podcast(id=7, title="Serial", author=Author(name="Sarah"), episodes=episodes))
        session.commit()
        podcast = session.get_one(Podcast, 7)
        assert [one.sponsor and one.sponsor.name for one in podcast.episodes] == ["Mail", None]
        identifier = models.identify(podcast)
        session.add(Episode(id=3, podcast_id=7))
        session.commit()

    assert identifier["with"] == ["episodes", "episodes.sponsor"]
    with Statements(engine) as statements:
        [again] = models.fetch(Podcast, [identifier])
        assert again is not None
        assert [one.sponsor and one.sponsor.name for one in again.episodes] == ["Mail", None, None]
    assert len(statements) == 3
    assert inspect(again).unloaded >= {"author"}


def test_a_collection_takes_one_query_for_each_relationship(engine: Engine, models: SqlAlchemyModels) -> None:
    with Session(engine) as session:
        for id in range(1, 21):
            session.add(Podcast(id=id, title=f"p{id}", author=Author(name=f"a{id}"), episodes=[Episode(), Episode()]))
        session.commit()

    identifiers = [{"model": PODCAST, "id": id, "with": ["author"]} for id in range(1, 11)]
    identifiers += [{"model": PODCAST, "id": id, "with": ["episodes"]} for id in range(11, 21)]
    with Statements(engine) as statements:
        podcasts = models.fetch(Podcast, identifiers)
        assert [one and one.author.name for one in podcasts] == [f"a{id}" for id in range(1, 21)]
        assert sum(len(one.episodes) for one in podcasts if one) == 40
    assert len(statements) == 3


def test_relationships_are_added_to_a_row_the_job_already_has(engine: Engine, models: SqlAlchemyModels) -> None:
    with Session(engine) as session:
        session.add(Podcast(id=1, title="Serial", episodes=[Episode()]))
        session.commit()

    [plain] = models.fetch(Podcast, by_id(Podcast, 1))
    [full] = models.fetch(Podcast, [{"model": PODCAST, "id": 1, "with": ["episodes"]}])
    assert full is plain
    assert "episodes" not in inspect(plain).unloaded


def test_a_relationship_the_class_no_longer_has_is_passed_over(engine: Engine, models: SqlAlchemyModels) -> None:
    with Session(engine) as session:
        session.add(Podcast(id=1, title="Serial", episodes=[Episode()]))
        session.commit()

    names = ["guests", "episodes.guests", "title", "reviews"]
    [podcast] = models.fetch(Podcast, [{"model": PODCAST, "id": 1, "with": names}])
    assert podcast is not None
    assert "episodes" not in inspect(podcast).unloaded


def test_subclasses_come_back_through_a_field_of_the_base_class(engine: Engine, models: SqlAlchemyModels) -> None:
    with Session(engine) as session:
        media = [Film(id=1, minutes=96, director=Author(name="Agnès")), Song(id=2, beats=90), Film(id=3, minutes=12)]
        session.add_all(media)
        session.commit()
        identifiers = [models.identify(one, relations=False) for one in media]

    with Statements(engine) as statements:
        film, song, short = models.fetch(Media, identifiers)
        assert isinstance(film, Film)
        assert isinstance(song, Song)
        assert isinstance(short, Film)
        assert (film.minutes, song.beats, short.minutes) == (96, 90, 12)
    assert len(statements) == 2


def test_a_row_that_became_another_subclass_is_gone(engine: Engine, models: SqlAlchemyModels) -> None:
    with Session(engine) as session:
        session.add(Song(id=1))
        session.commit()

    assert models.fetch(Media, by_id(Film, 1)) == [None]


def test_an_identifier_without_a_class_means_the_class_of_the_field(engine: Engine, models: SqlAlchemyModels) -> None:
    with Session(engine) as session:
        session.add(Podcast(id=7, title="Serial"))
        session.commit()

    [podcast] = models.fetch(Podcast, [{"id": 7}])
    assert podcast is not None
    assert podcast.title == "Serial"


@pytest.mark.parametrize(
    "model",
    [
        "tests.sqlalchemy.podcasts:Author",
        "tests.sqlalchemy.podcasts:Media",
        "builtins:str",
        "turtledemo.clock:Hand",
        "",
        7,
        [],
    ],
)
def test_a_class_that_is_not_of_the_field_is_refused(sqlite_models: SqlAlchemyModels, model: Any) -> None:
    with pytest.raises(PayloadError, match="nor a subclass of it"):
        sqlite_models.fetch(Film, [{"model": model, "id": 1, "with": []}])
    assert "turtledemo.clock" not in sys.modules


@pytest.mark.parametrize(
    "identifier",
    [{}, {"model": PODCAST}, {"id": 1, "with": "author"}, {"id": 1, "with": [["author"]]}, {"id": 1, "with": None}],
)
def test_an_incomplete_identifier_is_refused(sqlite_models: SqlAlchemyModels, identifier: Any) -> None:
    with pytest.raises(PayloadError, match="does not identify a Podcast"):
        sqlite_models.fetch(Podcast, [identifier])


def test_a_key_too_large_for_the_column_is_not_taken_for_an_outage(sqlite_models: SqlAlchemyModels) -> None:
    with pytest.raises(PayloadError, match="does not fit"):
        sqlite_models.fetch(Podcast, by_id(Podcast, 10**30))


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql+psycopg://shop:s3cret@127.0.0.1:1/shop", "postgresql+psycopg://127.0.0.1:1/shop"),
        ("mysql+pymysql://shop:s3cret@127.0.0.1:1/shop", "mysql+pymysql://127.0.0.1:1/shop"),
        ("sqlite:////no/such/folder/shop.db", "sqlite:////no/such/folder/shop.db"),
    ],
)
def test_an_unreachable_database_is_not_a_missing_row(url: str, place: str) -> None:
    engine = create_engine(url)
    models = SqlAlchemyModels(sessionmaker(engine))
    with pytest.raises(StoreError, match="up, reachable") as caught:
        models.fetch(Podcast, by_id(Podcast, 1))
    models.close()
    assert place in str(caught.value)
    assert "s3cret" not in str(caught.value)
    engine.dispose()


def test_a_missing_table_is_not_a_missing_row(sql_url: str) -> None:
    engine = create_engine(sql_url)
    models = SqlAlchemyModels(sessionmaker(engine))
    with pytest.raises(StoreError, match="migrated"):
        models.fetch(Podcast, by_id(Podcast, 1))
    models.close()
    engine.dispose()


#: How a connection asks for its number, and how another one ends it.
KILL = {
    "postgres": ("SELECT pg_backend_pid()", "SELECT pg_terminate_backend({})"),
    "mariadb": ("SELECT connection_id()", "KILL CONNECTION {}"),
}


@pytest.fixture(params=KILL)
def disconnected(request: pytest.FixtureRequest) -> Iterator[SqlAlchemyModels]:
    """In a job whose session was in a transaction when its connection ended."""
    ask, kill = KILL[request.param]
    engine = create_engine(request.getfixturevalue(f"{request.param}_url"))
    Base.metadata.create_all(engine)
    models = SqlAlchemyModels(sessionmaker(engine))
    with engine.connect() as other:
        other.execute(text(kill.format(models.session().scalar(text(ask)))))
    yield models
    models.close()
    engine.dispose()


def test_a_connection_lost_in_a_job_is_not_a_missing_row(disconnected: SqlAlchemyModels) -> None:
    with pytest.raises(StoreError):
        disconnected.fetch(Podcast, by_id(Podcast, 1))
    disconnected.close()
    assert disconnected.fetch(Podcast, by_id(Podcast, 1)) == [None]


def test_a_connection_lost_at_the_end_of_a_job_does_not_fail_it(
    disconnected: SqlAlchemyModels, caplog: pytest.LogCaptureFixture
) -> None:
    session = disconnected.session()
    disconnected.close()
    assert "could not be rolled back" in caplog.text
    assert not session.in_transaction()
    assert disconnected.fetch(Podcast, by_id(Podcast, 1)) == [None]


def test_sessions_without_an_engine_are_a_mistake_in_the_settings() -> None:
    models = SqlAlchemyModels(sessionmaker())
    with pytest.raises(ConfigurationError, match="no engine for Podcast"):
        models.fetch(Podcast, by_id(Podcast, 1))
    models.close()


def test_without_a_session_factory_models_are_sent_but_not_loaded(sqlite_engine: Engine) -> None:
    models = SqlAlchemyModels()
    with Session(sqlite_engine) as session:
        podcast = Podcast(title="Serial")
        session.add(podcast)
        session.commit()
        identifier = models.identify(podcast)

    models.open()
    with pytest.raises(ConfigurationError, match="register the sessionmaker"):
        models.fetch(Podcast, [identifier])
    models.close()


def test_one_factory_may_serve_several_databases(sqlite_url: str, postgres_url: str) -> None:
    engines = {Author: create_engine(sqlite_url), Podcast: create_engine(postgres_url)}
    for engine in engines.values():
        Base.metadata.create_all(engine)
    sessions: Callable[[], Session] = sessionmaker(binds=engines)
    with sessions() as session:
        session.add_all([Author(id=1, name="Sarah"), Podcast(id=1, title="Serial")])
        session.commit()

    models = SqlAlchemyModels(sessions)
    assert [row and row.name for row in models.fetch(Author, by_id(Author, 1))] == ["Sarah"]
    assert [row and row.title for row in models.fetch(Podcast, by_id(Podcast, 1))] == ["Serial"]
    models.close()
    for engine in engines.values():
        engine.dispose()
