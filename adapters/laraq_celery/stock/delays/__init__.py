"""Delayed jobs on brokers that know no delay: they wait in the store until a worker, any worker, moves them on."""

from laraq_celery.stock.delays.mover import Mover
from laraq_celery.stock.delays.sending import Delays

__all__ = ["Delays", "Mover"]
