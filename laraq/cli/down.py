"""`laraq down`: maintenance mode for workers."""

from __future__ import annotations

import click

from laraq.cli.attached import attached


@click.command()
@click.pass_context
def down(context: click.Context) -> None:
    """Take the application down for its workers: all jobs wait until `laraq up`.

    Workers obey within about a second, also those that start later, except those of `laraq work --force`. Running jobs
    go on, and jobs can be sent.
    """
    with attached(context) as laraq:
        laraq.maintenance.down()
    click.echo("The application is down: only workers with --force take jobs.")
