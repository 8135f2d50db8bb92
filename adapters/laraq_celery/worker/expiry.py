"""Expiry: the expiry of a job's message is set for workers, not for the broker."""

# mypy: disable-error-code="no-untyped-call"
# Celery's helpers have no annotations.

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from celery import Celery
from celery.utils.time import maybe_make_aware


def expiring_by_header(app: Celery, task: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a message with its `expires` only in the header that Celery's workers read.

    Celery also turns the option into a time to live. RabbitMQ drops such a message by itself: the job's locks would
    not be released, and its chain and batch not be notified.
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
