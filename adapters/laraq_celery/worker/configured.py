"""A configured job as a Celery signature: its options are kept in the signature until it is sent."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from laraq.errors import WrongCallError
from laraq.jobs.verbs import as_written
from laraq.messages.keys import Keys
from laraq.messages.options import OPTIONS, TRAVELLING, apply, settle, travelling
from laraq.middleware.travelling import pack, unpack

if TYPE_CHECKING:
    from celery.canvas import Signature

#: The header of a signature with the options of its job that Celery does not have.
HEADER = "laraq-settings"


def signature(task: Any, job: Any) -> Signature:
    """An immutable signature: the fields of the job are set, and it takes no result of the previous task.

    Raises InvalidJobError for invalid options, WrongCallError for options that a signature cannot keep.
    """
    settle(job)
    if job._rest is not None:
        raise WrongCallError(
            f"{as_written(job)} has a chain of its own, which a Celery signature cannot keep: dispatch() it, or"
            " put the links into Celery's chain."
        )
    own = {name: value for name, value in vars(job).items() if name in OPTIONS and value is not None}
    options = {"queue": own.pop("queue")} if "queue" in own else {}
    if "countdown" in own and not isinstance(own["countdown"], datetime):
        countdown = own.pop("countdown")
        options["countdown"] = countdown.total_seconds() if isinstance(countdown, timedelta) else countdown
    if isinstance(until := own.get("retry_until"), timedelta):
        own["retry_until"] = datetime.now(UTC) + until
    settings = {**own, **travelling(job)}
    if job._after_commit is not None:
        settings["after_commit"] = job._after_commit
    if job._through:
        settings["through"] = list(pack(job._through, job, task.laraq.keys, _place(job)))
    if settings:
        options["headers"] = {HEADER: settings}
    fields = {field.name: getattr(job, field.name) for field in dataclasses.fields(job) if field.init}
    made: Signature = task.signature((), fields, immutable=True, **options)
    return made


def restore(job: Any, options: dict[str, Any], keys: Keys) -> None:
    """Restore the options of the job from which the signature was created."""
    headers = options.get("headers") or {}
    if (settings := headers.get(HEADER)) is None:
        return
    options["headers"] = {name: value for name, value in headers.items() if name != HEADER}
    apply(job, settings)
    for name in settings.keys() - {*TRAVELLING, "through", "after_commit"} & OPTIONS:
        setattr(job, name, settings[name])
    job._after_commit = settings.get("after_commit")
    job._through = unpack(settings.get("through", ()), keys, _place(job))


def _place(job: Any) -> str:
    return f"signature of {job.job_name()}"
