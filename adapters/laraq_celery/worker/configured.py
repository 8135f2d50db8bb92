"""A job that is configured already, as a Celery signature: what it says travels with the signature until it is sent."""

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

#: The header of a signature in which its job says the options that Celery does not know.
SAID = "laraq-said"


def signature(task: Any, job: Any) -> Signature:
    """Immutable: the job has its fields, and takes no result of the task before it.

    Raises InvalidJobError for what no job may say, WrongCallError for what a signature cannot keep.
    """
    settle(job)
    if job._rest is not None:
        raise WrongCallError(
            f"{as_written(job)} has a chain of its own, which a signature of Celery's cannot keep: dispatch() it, or"
            " put the links into Celery's chain."
        )
    own = {name: value for name, value in vars(job).items() if name in OPTIONS and value is not None}
    options = {"queue": own.pop("queue")} if "queue" in own else {}
    if "countdown" in own and not isinstance(own["countdown"], datetime):
        countdown = own.pop("countdown")
        options["countdown"] = countdown.total_seconds() if isinstance(countdown, timedelta) else countdown
    if isinstance(until := own.get("retry_until"), timedelta):
        own["retry_until"] = datetime.now(UTC) + until
    said = {**own, **travelling(job)}
    if job._after_commit is not None:
        said["after_commit"] = job._after_commit
    if job._through:
        said["through"] = list(pack(job._through, job, task.laraq.keys, _place(job)))
    if said:
        options["headers"] = {SAID: said}
    fields = {field.name: getattr(job, field.name) for field in dataclasses.fields(job) if field.init}
    made: Signature = task.signature((), fields, immutable=True, **options)
    return made


def say_again(job: Any, options: dict[str, Any], keys: Keys) -> None:
    """Let a job that is made of a signature say what its signature was made of."""
    headers = options.get("headers") or {}
    if (said := headers.get(SAID)) is None:
        return
    options["headers"] = {name: value for name, value in headers.items() if name != SAID}
    apply(job, said)
    for name in said.keys() - {*TRAVELLING, "through", "after_commit"} & OPTIONS:
        setattr(job, name, said[name])
    job._after_commit = said.get("after_commit")
    job._through = unpack(said.get("through", ()), keys, _place(job))


def _place(job: Any) -> str:
    return f"signature of {job.job_name()}"
