"""`laraq clear`: drop the jobs of a queue."""

from __future__ import annotations

import sys

import click

from laraq import Queue
from laraq.cli.attached import attached
from laraq.cli.host import host_commands


@click.command()
@click.argument("queue", required=False)
@click.option("--force", is_flag=True, help="Do not ask.")
@click.pass_context
def clear(context: click.Context, queue: str | None, force: bool) -> None:
    """Drop the jobs of QUEUE, or of the default queue, that no worker has reserved: "high", or "connection:high".

    Their locks are released, and their batches and chains are notified. On a terminal, asks for confirmation.
    """
    with attached(context) as laraq, laraq:
        # The class knows what a started job holds through its middleware.
        host_commands().import_jobs(laraq)
        if not force and sys.stdin.isatty():
            click.confirm(f"Drop the jobs of {queue or 'the default queue'}?", abort=True)
        count = Queue.clear(queue)
    click.echo(f"Dropped {count} job{'' if count == 1 else 's'}.")
