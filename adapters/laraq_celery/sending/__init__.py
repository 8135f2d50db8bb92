"""The short way from a payload to the broker; Celery's own stays the reference for what a message looks like."""

from laraq_celery.sending.short_way import InDoubtError, ShortWay, UnconfirmedError
from laraq_celery.sending.window import HIDDEN

__all__ = ["HIDDEN", "InDoubtError", "ShortWay", "UnconfirmedError"]
