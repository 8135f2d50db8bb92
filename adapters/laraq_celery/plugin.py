"""The part of laraq that the `celery` command loads at every call: `celery laraq ...`, and laraq's broker URLs.

Loading it is enough for `celery -b laraq-db+... worker` of an app that does not use laraq.
"""

from __future__ import annotations

from laraq.cli import laraq
from laraq_celery.transports import register

register()

__all__ = ["laraq"]
