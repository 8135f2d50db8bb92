"""`laraq up`: the end of maintenance mode."""

from __future__ import annotations

import click

from laraq.cli.attached import attached


@click.command()
@click.pass_context
def up(context: click.Context) -> None:
    """Let workers take jobs again, after `laraq down`. Paused queues stay paused.

    Exit status 1 when the application was not down.
    """
    with attached(context) as laraq:
        was_down = laraq.maintenance.up()
    if not was_down:
        click.echo("Error: The application was not down.", err=True)
        context.exit(1)
    click.echo("The application is up.")
