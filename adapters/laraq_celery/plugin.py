"""What the `celery` command loads of laraq at every call: `celery laraq ...`, and laraq's broker URLs.

Loading it is enough for `celery -b laraq-db+... worker` of an app that knows nothing of laraq.
"""

from __future__ import annotations

from laraq.cli import laraq
from laraq_celery.transports import register

register()

__all__ = ["laraq"]
