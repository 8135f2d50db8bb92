"""An SQL database as a place where laraq keeps what is not in the broker."""

from laraq_sqlalchemy.store import SqlStore
from laraq_sqlalchemy.tables import metadata

__all__ = ["SqlStore", "metadata"]
