"""`laraq failed`: list the failed jobs, or show one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from laraq.cli import output
from laraq.cli.attached import attached
from laraq.cli.fitting import Column
from laraq.messages.failure import FailedJob
from laraq.messages.payload import CIPHER

#: Columns of the list.
COLUMNS = (
    Column("ID", whole=True),
    Column("Failed at (UTC)", whole=True, optional=True),
    Column("Job", from_left=True),
    Column("Queue", optional=True),
    Column("Error"),
)

#: Shown instead of the fields of an encrypted job.
HIDDEN = "<encrypted>"


@click.command()
@click.argument("id", required=False)
@click.option("--queue", help="Only failed jobs of this queue.")
@click.option("--job", help="Only failed jobs of this class (dotted path).")
@click.option("--limit", type=click.IntRange(min=1), help="Number of failed jobs to list, newest first.")
@click.option("--wide", is_flag=True, help="Do not shorten columns to the width of the terminal.")
@click.option("--json", "as_json", is_flag=True, help="JSON for programs.")
@click.pass_context
def failed(
    context: click.Context,
    id: str | None,
    queue: str | None,
    job: str | None,
    limit: int | None,
    wide: bool,
    as_json: bool,
) -> None:
    """List the failed jobs, or show one.

    The newest comes first; on a terminal, the list is cut to its width. The job with ID is shown in full, with its
    payload and traceback, in a pager if it is long.
    """
    if id is not None and (queue or job or limit):
        raise click.UsageError(
            "--queue, --job and --limit filter the list; they cannot be combined with an ID.", context
        )
    with attached(context) as laraq:
        if id is None:
            _list(laraq.failed.all(queue, job=job, limit=limit), as_json, wide)
        elif (found := laraq.failed.find(id)) is not None:
            _show(found, as_json)
        else:
            raise click.ClickException(f"No failed job has the id {id}.")


def _list(jobs: Any, as_json: bool, wide: bool) -> None:
    if as_json:
        output.as_json([_summary(job) for job in jobs])
    elif jobs:
        rows = [(job.id, f"{job.failed_at:%Y-%m-%d %H:%M:%S}", _name(job), job.queue, last_error(job)) for job in jobs]
        output.table(COLUMNS, rows, wide=wide)
    else:
        click.echo("No failed jobs.")


def _summary(job: FailedJob) -> Mapping[str, Any]:
    whole = job.to_dict()
    del whole["payload"], whole["exception"]
    return {**whole, "error": last_error(job)}


def _show(job: FailedJob, as_json: bool) -> None:
    whole = job.to_dict()
    if CIPHER in (job.payload.get("kwargs") or {}):
        whole["payload"] = {**job.payload, "kwargs": HIDDEN}
    if as_json:
        output.as_json(whole)
        return
    output.record(
        {
            "ID": job.id,
            "Job": job.job,
            "Connection": job.connection,
            "Queue": job.queue,
            "Attempts": str(job.attempts),
            "Failed at": whole["failed_at"],
            **({"Tags": ", ".join(job.tags)} if job.tags else {}),
            **({"Batch": job.batch_id} if job.batch_id else {}),
            "Payload": json.dumps(whole["payload"], indent=2, ensure_ascii=False),
            "Exception": job.exception,
        }
    )


def _name(job: FailedJob) -> str:
    """The name to show: a callback or closure has one of laraq's own classes, whose name says nothing."""
    options = (job.payload.get("laraq") or {}).get("options") or {}
    return str(options.get("display_name") or job.job)


def last_error(job: FailedJob) -> str:
    """The line of a traceback that names the exception: the one after the innermost frame of the last exception."""
    lines = job.exception.splitlines()
    last_frame = max((number for number, line in enumerate(lines) if line.startswith('  File "')), default=-1)
    if last_frame < 0:
        return lines[0] if lines else ""
    # A frame is followed by its source and marks, indented by four spaces.
    return next((line for line in lines[last_frame + 1 :] if not line.startswith("    ")), "")
