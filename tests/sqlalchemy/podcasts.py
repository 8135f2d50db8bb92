"""The mapped classes that the tests of models send in jobs."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import (
    DeclarativeBase,
    DynamicMapped,
    Mapped,
    MappedAsDataclass,
    attribute_keyed_dict,
    mapped_column,
    relationship,
)


class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "author"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    podcasts: Mapped[list[Podcast]] = relationship(back_populates="author")


class Podcast(Base):
    __tablename__ = "podcast"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(50))
    author_id: Mapped[int | None] = mapped_column(ForeignKey("author.id"))
    author: Mapped[Author | None] = relationship(back_populates="podcasts")
    episodes: Mapped[list[Episode]] = relationship(back_populates="podcast", order_by="Episode.id")
    trailer_id: Mapped[int | None] = mapped_column(ForeignKey("media.id"))
    trailer: Mapped[Media | None] = relationship()
    reviews: DynamicMapped[Review] = relationship()


class Sponsor(Base):
    """One row, but iterable."""

    __tablename__ = "sponsor"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))

    def __iter__(self) -> Iterator[str]:
        return iter(self.name)


class Episode(Base):
    __tablename__ = "episode"

    id: Mapped[int] = mapped_column(primary_key=True)
    podcast_id: Mapped[int | None] = mapped_column(ForeignKey("podcast.id"))
    sponsor_id: Mapped[int | None] = mapped_column(ForeignKey("sponsor.id"))
    podcast: Mapped[Podcast | None] = relationship(back_populates="episodes")
    sponsor: Mapped[Sponsor | None] = relationship()
    transcripts: Mapped[dict[str, Transcript]] = relationship(collection_class=attribute_keyed_dict("language"))


class Transcript(Base):
    __tablename__ = "transcript"

    id: Mapped[int] = mapped_column(primary_key=True)
    language: Mapped[str] = mapped_column(String(2))
    episode_id: Mapped[int | None] = mapped_column(ForeignKey("episode.id"))
    author_id: Mapped[int | None] = mapped_column(ForeignKey("author.id"))
    author: Mapped[Author | None] = relationship()


class Review(Base):
    __tablename__ = "review"

    id: Mapped[int] = mapped_column(primary_key=True)
    podcast_id: Mapped[int | None] = mapped_column(ForeignKey("podcast.id"))


class Seat(Base):
    """Its key is composite, and its attributes are not named like its columns."""

    __tablename__ = "seat"

    row_letter: Mapped[str] = mapped_column("row_", String(2), primary_key=True)
    place: Mapped[int] = mapped_column("number_", primary_key=True, autoincrement=False)


class Ticket(MappedAsDataclass, Base):
    __tablename__ = "ticket"

    id: Mapped[UUID] = mapped_column(primary_key=True)


class Media(Base):
    __tablename__ = "media"

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(10))

    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "media"}


class Film(Media):
    __tablename__ = "film"

    id: Mapped[int] = mapped_column(ForeignKey("media.id"), primary_key=True)
    minutes: Mapped[int] = mapped_column(default=90)
    director_id: Mapped[int | None] = mapped_column(ForeignKey("author.id"))
    director: Mapped[Author | None] = relationship()

    __mapper_args__ = {"polymorphic_identity": "film"}


class Song(Media):
    __tablename__ = "song"

    id: Mapped[int] = mapped_column(ForeignKey("media.id"), primary_key=True)
    beats: Mapped[int] = mapped_column(default=120)

    __mapper_args__ = {"polymorphic_identity": "song"}


class Person(Base):
    """Each follows the next: a path of relationships without an end of its own."""

    __tablename__ = "person"

    id: Mapped[int] = mapped_column(primary_key=True)
    follows_id: Mapped[int | None] = mapped_column(ForeignKey("person.id"))
    follows: Mapped[Person | None] = relationship(remote_side=[id])


class Festival(Base):
    """Its days come with it, by JOIN."""

    __tablename__ = "festival"

    id: Mapped[int] = mapped_column(primary_key=True)
    days: Mapped[list[Day]] = relationship(lazy="joined")


class Day(Base):
    __tablename__ = "day"

    id: Mapped[int] = mapped_column(primary_key=True)
    festival_id: Mapped[int | None] = mapped_column(ForeignKey("festival.id"))
