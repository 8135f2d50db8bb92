"""Everything laraq keeps, in one SQL database."""

from laraq_sqlalchemy.store.store import SqlStore

__all__ = ["SqlStore"]
