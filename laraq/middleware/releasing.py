"""Releasing: the base of middleware that may release a job to its queue."""

from __future__ import annotations

import logging
from copy import copy
from typing import Any, Self

from laraq.current import current
from laraq.jobs.job import Job
from laraq.messages.options import Seconds, read

logger = logging.getLogger("laraq.middleware")

#: Names of the Job classes about which this process has warned.
_warned: set[str] = set()


class Releasing:
    """The modifiers return changed copies, so that one object may serve many classes and threads."""

    _counted = True

    def dont_count(self) -> Self:
        """Let a release by this middleware cost no attempt; by default it costs one, as every start does."""
        return self._with(_counted=False)

    def _release(self, job: Job, delay: Seconds) -> None:
        job.release(delay, counted=self._counted)

    def _warn_of_single_try(self, job: Job) -> None:
        """Warn, once per class, that a release by this middleware would fail the job."""
        if self._counted:
            warn_of_single_try(self, job)

    def _with(self, **changes: Any) -> Self:
        changed = copy(self)
        vars(changed).update(changes)
        return changed


def warn_of_single_try(middleware: object, job: Job) -> None:
    """Warn once per class that the job has only one try, so the start after a release would fail it."""
    name = job.job_name()
    if name in _warned or job._interactions is None:
        return
    delivery = job._interactions.delivery
    if delivery.last or delivery.payload.retry_until is not None or read(job, "retry_until") is not None:
        return
    tries = read(job, "tries")
    if (current().worker.tries if tries is None else tries) == 1:
        _warned.add(name)
        logger.warning(
            "%s has tries = 1, and %s may release it: that uses up its only try, and the next start fails it."
            " Give it more tries or retry_until, or let the middleware not count.",
            name,
            type(middleware).__name__,
        )


def hidden(job: Job, key: str) -> str:
    """A key as it is stored: hashed for an encrypted job, whose key may be secret."""
    return current().keys.hide(key) if job.encrypted else key


def class_key(job: Job) -> str:
    """The name of the job's class in keys of the store: the display name, else the dotted path."""
    return str(read(job, "display_name") or job.job_name())
