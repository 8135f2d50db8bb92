"""Delayed jobs on brokers without delays: they wait in the store until any worker moves them to the broker."""

from laraq_celery.stock.delays.mover import Mover
from laraq_celery.stock.delays.sending import Delays

__all__ = ["Delays", "Mover"]
