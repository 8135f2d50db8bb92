"""`laraq retry-batch`: send the failed jobs of a batch again."""

from __future__ import annotations

from collections.abc import Sequence

import click

from laraq.cli.attached import attached
from laraq.cli.host import host_commands
from laraq.errors import BatchNotFoundError


@click.command("retry-batch")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.pass_context
def retry_batch(context: click.Context, ids: tuple[str, ...]) -> None:
    """Send the failed jobs of batches again.

    A job that now succeeds moves from failed to done; when none is left, the `then` callbacks are called unless they
    were before. Exit status 1 when a batch is unknown, or one of its jobs is not among the failed jobs.
    """
    with attached(context) as laraq:
        host_commands().import_jobs(laraq)
        problems: list[str] = []
        for id in dict.fromkeys(ids):
            try:
                sent, lost = laraq.failed.retry_batch(id)
            except BatchNotFoundError as error:
                problems.append(str(error))
                continue
            if sent or not lost:
                click.echo(f"Batch {id}: {_jobs(sent)} sent again" if sent else f"Batch {id}: no failed jobs")
            if lost:
                are = "is" if len(lost) == 1 else "are"
                problems.append(f"Batch {id}: {_jobs(lost)} {are} not among the failed jobs and cannot be retried.")
    for problem in problems:
        click.echo(f"Error: {problem}", err=True)
    if problems:
        context.exit(1)


def _jobs(ids: Sequence[str]) -> str:
    return f"{len(ids)} failed job{'s' * (len(ids) != 1)}"
