"""`laraq forget`: drop records of failed jobs."""

from __future__ import annotations

import click

from laraq.cli.attached import attached


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.pass_context
def forget(context: click.Context, ids: tuple[str, ...]) -> None:
    """Drop failed jobs by their ids.

    They can then no longer be retried. Exit status 1 when an id is unknown.
    """
    with attached(context) as laraq:
        unknown = [id for id in dict.fromkeys(ids) if not laraq.failed.forget(id)]
    for id in ids:
        if id not in unknown:
            click.echo(f"Forgotten: {id}")
    for id in unknown:
        click.echo(f"Error: No failed job has the id {id}.", err=True)
    if unknown:
        context.exit(1)
