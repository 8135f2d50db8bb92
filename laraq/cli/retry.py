"""`laraq retry`: send failed jobs again."""

from __future__ import annotations

from collections.abc import Iterable

import click

from laraq.cli.attached import attached
from laraq.cli.host import host_commands
from laraq.errors import PayloadError


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]... | all")
@click.option("--queue", help="All of this queue.")
@click.option("--job", help="All failed jobs of this class (dotted path).")
@click.pass_context
def retry(context: click.Context, ids: tuple[str, ...], queue: str | None, job: str | None) -> None:
    """Send failed jobs again.

    They keep their ids, their attempts start from 0, and their records are removed.
    Exit status 1 when an id is unknown or a job cannot be sent; the others are sent nevertheless.
    """
    everything = ids == ("all",) or (not ids and (queue or job))
    if not ids and not everything:
        raise click.UsageError("Expected the ids of failed jobs, or: all.", context)
    if not everything and (queue or job):
        raise click.UsageError("--queue and --job filter all failed jobs; they cannot be combined with ids.", context)
    with attached(context) as laraq:
        # A job's own `retry_until` is computed again, which needs its class.
        host_commands().import_jobs(laraq)
        chosen: Iterable[str] = [each.id for each in laraq.failed.all(queue, job=job)] if everything else ids
        problems = 0
        for id in dict.fromkeys(chosen):
            try:
                sent = laraq.failed.retry(id)
            except PayloadError as error:
                problems += 1
                click.echo(f"Error: {error}", err=True)
                continue
            if sent:
                click.echo(f"Sent again: {id}")
            elif not everything:  # with "all", a missing one has just been retried or forgotten elsewhere
                problems += 1
                click.echo(f"Error: No failed job has the id {id}.", err=True)
        if not chosen:
            click.echo("No failed jobs.")
    if problems:
        context.exit(1)
