"""What travels in place of a mapped instance."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import Engine, inspect
from sqlalchemy.orm import Session

from laraq.errors import DispatchError, ModelNotIdentifiableError
from laraq_sqlalchemy.orm.identifier import Identifier
from tests.sqlalchemy.podcasts import Author, Film, Podcast
from tests.sqlalchemy.statements import Statements


def test_it_names_class_key_and_loaded_relationships(sqlite_engine: Engine) -> None:
    with Session(sqlite_engine) as session:
        podcast = Podcast(id=7, title="Serial", author=Author(name="Sarah"))
        session.add(podcast)
        session.flush()
        identifier = Identifier.of(podcast)

    assert identifier.to_json() == {"model": "tests.sqlalchemy.podcasts:Podcast", "id": 7, "with": ["author"]}
    assert Identifier.from_json(inspect(Podcast), json.loads(json.dumps(identifier.to_json()))) == identifier


def test_relationships_may_be_left_out(sqlite_engine: Engine) -> None:
    with Session(sqlite_engine) as session:
        podcast = Podcast(id=7, title="Serial", author=Author(name="Sarah"))
        session.add(podcast)
        session.flush()
        assert Identifier.of(podcast, relations=False).relations == ()


def test_it_names_the_class_of_the_instance_not_of_the_table(sqlite_engine: Engine) -> None:
    with Session(sqlite_engine) as session:
        film = Film(minutes=12)
        session.add(film)
        session.flush()
        assert Identifier.of(film).to_json()["model"] == "tests.sqlalchemy.podcasts:Film"


def test_an_instance_that_was_never_flushed_is_refused(sqlite_engine: Engine) -> None:
    podcast = Podcast(id=7, title="Serial")
    with pytest.raises(ModelNotIdentifiableError, match=r"Podcast cannot be sent in a job.*flush or commit"):
        Identifier.of(podcast)
    with Session(sqlite_engine) as session:
        session.add(podcast)
        with pytest.raises(DispatchError, match="flush or commit"):
            Identifier.of(podcast)


def test_an_insert_that_was_rolled_back_is_refused(sqlite_engine: Engine) -> None:
    with Session(sqlite_engine) as session:
        podcast = Podcast(title="Serial")
        session.add(podcast)
        session.flush()
        session.rollback()
        with pytest.raises(ModelNotIdentifiableError):
            Identifier.of(podcast)


def test_expired_and_detached_instances_are_identified_without_sql(sqlite_engine: Engine) -> None:
    with Session(sqlite_engine) as session:
        podcast = Podcast(id=7, title="Serial", author=Author(name="Sarah"))
        session.add(podcast)
        session.commit()
        with Statements(sqlite_engine) as statements:
            expired = Identifier.of(podcast)
    assert statements == []
    assert expired.key == (7,)
    assert expired.relations == ()
    assert Identifier.of(podcast) == expired


def test_a_deleted_instance_is_identified_so_that_its_job_finds_it_gone(sqlite_engine: Engine) -> None:
    with Session(sqlite_engine) as session:
        podcast = Podcast(id=7, title="Serial")
        session.add(podcast)
        session.commit()
        session.delete(podcast)
        session.commit()
        assert Identifier.of(podcast).key == (7,)
