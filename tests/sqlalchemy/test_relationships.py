"""Which relationships a job carries along."""

from __future__ import annotations

from sqlalchemy import Engine, inspect, select
from sqlalchemy.orm import Session, selectinload

from laraq_sqlalchemy.orm.relationships import DEPTH, loaded, loaders
from tests.sqlalchemy.podcasts import Author, Episode, Film, Person, Podcast, Review, Sponsor, Transcript
from tests.sqlalchemy.statements import Statements


def test_relationships_that_were_not_touched_are_not_named(sqlite_engine: Engine) -> None:
    with Session(sqlite_engine) as session:
        session.add(Podcast(id=1, title="Serial", author=Author(name="Sarah"), episodes=[Episode()]))
        session.commit()
        podcast = session.get_one(Podcast, 1)
        assert loaded(podcast) == []
        assert podcast.author is not None
        assert loaded(podcast) == ["author"]


def test_loaded_but_empty_relationships_are_named(sqlite_engine: Engine) -> None:
    with Session(sqlite_engine) as session:
        session.add(Podcast(id=1, title="Serial"))
        session.commit()
        podcast = session.get_one(Podcast, 1, options=[selectinload(Podcast.author), selectinload(Podcast.episodes)])
        assert loaded(podcast) == ["author", "episodes"]


def test_the_way_back_is_not_named() -> None:
    author = Author(id=1, name="Sarah")
    podcast = Podcast(id=1, title="Serial", author=author, episodes=[Episode(id=1), Episode(id=2)])
    assert author.podcasts == [podcast]
    assert loaded(podcast) == ["author", "episodes"]


def test_rows_the_way_back_leads_to_for_the_first_time_are_named() -> None:
    author = Author(id=1, name="Sarah")
    podcast = Podcast(id=1, title="Serial", author=author)
    Podcast(id=2, title="S-Town", author=author, episodes=[Episode(id=1)])
    assert loaded(podcast) == ["author", "author.podcasts", "author.podcasts.episodes"]


def test_a_relationship_loaded_on_some_of_the_rows_is_named() -> None:
    podcast = Podcast(id=1, title="Serial", episodes=[Episode(id=1), Episode(id=2, sponsor=Sponsor(id=1, name="Mail"))])
    assert loaded(podcast) == ["episodes", "episodes.sponsor"]


def test_a_path_ends_after_three_steps() -> None:
    person = Person(id=0)
    first = person
    for id in range(1, 1000):
        person.follows = Person(id=id)
        person = person.follows
    assert loaded(first) == ["follows", "follows.follows", "follows.follows.follows"]


def test_a_circle_ends() -> None:
    a, b = Person(id=1), Person(id=2)
    a.follows, b.follows = b, a
    assert loaded(a) == ["follows"]
    a.follows = a
    assert loaded(a) == ["follows"]


def test_collections_that_are_queries_are_not_named() -> None:
    podcast = Podcast(id=1, title="Serial")
    podcast.reviews.append(Review(id=1))
    assert loaded(podcast) == []


def test_dictionaries_of_rows_are_walked() -> None:
    episode = Episode(id=1, transcripts={"en": Transcript(id=1, language="en", author=Author(id=1, name="Sarah"))})
    assert loaded(episode) == ["transcripts", "transcripts.author"]


def test_relationships_of_a_subclass_of_the_related_class_are_left_to_lazy_loading() -> None:
    podcast = Podcast(id=1, title="Serial", trailer=Film(id=1, director=Author(id=1, name="Agnès")))
    assert loaded(podcast) == ["trailer"]


def test_names_from_a_message_are_followed_three_steps_only(sqlite_engine: Engine) -> None:
    with Session(sqlite_engine) as session:
        person = None
        for id in range(DEPTH + 3, 0, -1):
            person = Person(id=id, follows=person)
            session.add(person)
        session.commit()
        session.expunge_all()
        path = ".".join(["follows"] * 1000)
        with Statements(sqlite_engine) as statements:
            session.scalars(select(Person).where(Person.id == 1).options(*loaders(inspect(Person), [path]))).one()
    assert len(statements) == 1 + DEPTH
