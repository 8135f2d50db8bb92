"""`laraq prune-failed`: drop old records of failed jobs."""

from __future__ import annotations

import click

from laraq.cli.attached import attached


@click.command("prune-failed")
@click.option("--hours", type=click.FloatRange(min=0), default=24, show_default=True, help="How old is old.")
@click.pass_context
def prune_failed(context: click.Context, hours: float) -> None:
    """Drop old failed jobs.

    Made for a schedule: never asks for confirmation.
    """
    with attached(context) as laraq:
        count = laraq.failed.prune(hours)
    click.echo(f"Dropped {count} failed job{'' if count == 1 else 's'}.")
