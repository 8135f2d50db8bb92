"""An SQL database as laraq's store and broker."""

from laraq_sqlalchemy.schema.tables import metadata
from laraq_sqlalchemy.store.store import SqlStore

__all__ = ["SqlStore", "metadata"]
