"""An SQL database as a place where laraq keeps what is not in the broker."""

from laraq_sqlalchemy.schema.tables import metadata
from laraq_sqlalchemy.store.store import SqlStore

__all__ = ["SqlStore", "metadata"]
