"""The database broker: a kombu transport on SQLAlchemy, for any Celery worker."""

from laraq_sqlalchemy.broker.aliases import register
from laraq_sqlalchemy.broker.session import session_producer
from laraq_sqlalchemy.broker.tables import create_tables

__all__ = ["create_tables", "register", "session_producer"]
