"""`laraq restart`: have all workers exit after their running jobs."""

from __future__ import annotations

import click

from laraq.cli.attached import attached


@click.command()
@click.pass_context
def restart(context: click.Context) -> None:
    """Have all workers of the app finish their running jobs and exit, after a deploy for example.

    What started them must start them again: systemd with Restart=always, Supervisor with autorestart=true.
    """
    with attached(context) as laraq:
        laraq.restarts.order()
    click.echo("All workers finish their running jobs and exit.")
