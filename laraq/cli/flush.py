"""`laraq flush`: drop all records of failed jobs."""

from __future__ import annotations

import sys

import click

from laraq.cli.attached import attached


@click.command()
@click.option("--hours", type=click.FloatRange(min=0), help="Only jobs that failed at least this many hours ago.")
@click.option("--force", is_flag=True, help="Do not ask.")
@click.pass_context
def flush(context: click.Context, hours: float | None, force: bool) -> None:
    """Drop all failed jobs.

    They can then no longer be retried. On a terminal, asks for confirmation.
    """
    with attached(context) as laraq:
        if not force and sys.stdin.isatty():
            which = "all failed jobs" if hours is None else f"the failed jobs older than {hours:g} h"
            click.confirm(f"Drop {which}?", abort=True)
        count = laraq.failed.flush(hours)
    click.echo(f"Dropped {count} failed job{'' if count == 1 else 's'}.")
