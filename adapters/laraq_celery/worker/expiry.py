"""Expiry: when a job's message is not to be run any more is said to workers, not to the broker."""

# mypy: disable-error-code="no-untyped-call"
# Celery's helpers have no annotations.

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from celery import Celery
from celery.utils.time import maybe_make_aware


def told_to_workers(app: Celery, task: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a message with its `expires` in the header that Celery's workers read, and nowhere else.

    Of the option Celery makes a time to live as well. RabbitMQ drops such a message by itself: nobody would free the
    job's locks, or tell its chain and batch.
    """
    expires = options["expires"] if "expires" in options else getattr(task, "expires", None)
    if expires is None:
        return dict(options)
    if isinstance(expires, timedelta):
        expires = expires.total_seconds()
    if isinstance(expires, (int, float)):
        expires = app.now() + timedelta(seconds=expires)
    if isinstance(expires, datetime):
        expires = maybe_make_aware(expires, app.timezone).isoformat()
    headers = {**(options.get("headers") or {}), "expires": expires}
    return {**options, "expires": None, "headers": headers}
