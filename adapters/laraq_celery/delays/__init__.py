"""Delayed jobs on brokers that know no delay: they wait in the store until a worker, any worker, moves them on."""

from laraq_celery.delays.mover import Mover
from laraq_celery.delays.sending import Delays

__all__ = ["Delays", "Mover"]
